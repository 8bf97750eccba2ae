"""sglang_to_npz.py on files as the recorder saves them; exit code 77 (skipped) without torch.

Usage: sglang_to_npz_test.py REPOSITORY
"""

import os
import subprocess
import sys
import tempfile

try:
    import numpy
    import torch
except ImportError:
    print("skipped: torch and numpy are not installed")
    sys.exit(77)

TOOL = os.path.join(sys.argv[1], "workloads/routing/tools/sglang_to_npz.py")


def run(folder, out, *names):
    paths = [os.path.join(folder, name) for name in (out,) + names]
    return subprocess.run([sys.executable, TOOL] + paths, capture_output=True, text=True)


def check(condition, what):
    if not condition:
        sys.exit(f"expected {what}")


def record(forward_pass, rank, **data):
    return dict(forward_pass_id=forward_pass, rank=rank, gatherer_key="primary", **data)


def save(folder, name, records, mapping):
    data = dict(records=records, last_physical_to_logical_map=torch.tensor(mapping))
    torch.save(data, os.path.join(folder, name))


def test_stat(folder):
    counts = torch.arange(12, dtype=torch.int32).reshape(2, 2, 3)
    torch.save(dict(rank=0, logical_count=counts, average_utilization_rate_over_window=None), folder + "/stat.pt")
    result = run(folder, "stat.npz", "stat.pt")
    check(result.returncode == 0, f"success, found {result.stderr}")
    check((numpy.load(folder + "/stat.npz")["logical_count"] == counts.numpy()).all(), "the counts as they were")


def test_per_pass(folder):
    def counted(forward_pass, rank, counts):
        return record(forward_pass, rank, global_physical_count=torch.tensor([counts], dtype=torch.int32))

    save(folder, "pass0.pt", [counted(7, 0, [1, 2]), counted(9, 0, [3, 4])], [[1, 0]])
    save(folder, "pass1.pt", [counted(7, 1, [5, 6]), counted(9, 1, [7, 8])], [[1, 0]])
    check(run(folder, "pass.npz", "pass0.pt", "pass1.pt").returncode == 0, "success")
    arrays = numpy.load(folder + "/pass.npz")
    check(arrays["forward_pass_id"].tolist() == [7, 7, 9, 9], "records by pass, then rank")
    check(arrays["global_physical_count"].tolist() == [[[1, 2]], [[5, 6]], [[3, 4]], [[7, 8]]], "their counts")
    check(arrays["physical_to_logical_map"].tolist() == [[1, 0]], "the map")


def test_per_token(folder):
    def tokens(forward_pass, rank, ids, input_ids, lengths):
        return record(
            forward_pass,
            rank,
            input_ids=input_ids,
            positions=list(range(len(input_ids))),
            extend_seq_lens=lengths,
            forward_mode=1,
            topk_ids_of_layer=torch.tensor(ids, dtype=torch.int32),
        )

    prefill = [[[0, 1], [1, 0], [2, 1]], [[3, 2], [2, 3], [1, 3]]]  # [layers, tokens, slots]
    decode = [[[0, 3]], [[1, 2]]]
    for rank in (0, 1):  # tensor parallel ranks record the same tokens
        records = [tokens(1, rank, prefill, [5, 6, 7], [2, 1]), tokens(2, rank, decode, [8], None)]
        save(folder, f"token{rank}.pt", records, [[0, 1, 2, 3]] * 2)
    check(run(folder, "token.npz", "token0.pt", "token1.pt").returncode == 0, "success")
    arrays = numpy.load(folder + "/token.npz")
    expected = [[[0, 1], [3, 2]], [[1, 0], [2, 3]], [[2, 1], [1, 3]], [[0, 3], [1, 2]]]
    check(arrays["topk_ids_of_layer"].tolist() == expected, "tokens first, each once")
    check(arrays["sequence_lengths"].tolist() == [2, 1, 1], "the prefill's sequences, then one decode token")


def test_faults(folder):
    with open(folder + "/text.pt", "w") as file:
        file.write("no torch file")
    result = run(folder, "x.npz", "text.pt")
    check(result.returncode != 0 and "expected a torch.save file" in result.stderr, "a clear error")
    check(not os.path.exists(folder + "/x.npz"), "no output")


with tempfile.TemporaryDirectory() as scratch:
    for test in (test_stat, test_per_pass, test_per_token, test_faults):
        test(scratch)
