#!/usr/bin/env python3
"""Converts what SGLang's expert distribution recorder wrote with torch.save to an .npz that moesim reads.

    sglang_to_npz.py OUT.npz FILE.pt...

Modes stat and stat_approx write one file for all ranks, per_pass and per_token one a rank: name them all. The arrays
keep the recorder's own names (python/sglang/srt/eplb/expert_distribution.py); moesim adds up ranks and maps physical
experts to logical ones. Needs torch and numpy.
"""

import sys

import numpy
import torch


def fail(message):
    sys.exit(f"sglang_to_npz.py: {message}")


def load(path):
    try:
        data = torch.load(path, map_location="cpu")
    except Exception as error:  # torch raises what its reader of the day raises
        fail(f"{path}: expected a torch.save file, found: {error}")
    if not isinstance(data, dict) or not ("logical_count" in data or "records" in data):
        fail(f"{path}: expected a dict with logical_count (mode stat) or records (per_pass, per_token)")
    return data


def array(value):
    return value.numpy() if isinstance(value, torch.Tensor) else numpy.asarray(value)


def convert_stat(path, data):
    counts = array(data["logical_count"])
    if counts.ndim == 2:
        counts = counts[None]
    if counts.ndim != 3:
        fail(f"{path}: expected logical_count [steps, layers, experts], found {list(counts.shape)}")
    return {"logical_count": counts}


def records_of(paths, datas):
    """All ranks' records by forward pass, then rank."""
    records = []
    for path, data in zip(paths, datas):
        if "records" not in data:
            fail(f"{path}: expected records, as the other files have")
        records += data["records"]
    if not records:
        fail(f"{paths[0]}: expected records, found none")
    return sorted(records, key=lambda record: (record["forward_pass_id"], record["rank"]))


def convert_per_pass(records):
    return {
        "global_physical_count": numpy.stack([array(r["global_physical_count"]) for r in records]),
        "forward_pass_id": numpy.asarray([r["forward_pass_id"] for r in records], dtype=numpy.int64),
        "rank": numpy.asarray([r["rank"] for r in records], dtype=numpy.int64),
    }


def stretches(record, tokens):
    """Tokens of each sequence in the pass: a prefill says them, in a decode each token is of another sequence."""
    lengths = record.get("extend_seq_lens")
    if lengths is not None and len(lengths) > 0 and sum(lengths) == tokens:
        return [int(length) for length in lengths if length > 0]
    return [1] * tokens


def convert_per_token(records):
    topk_ids, lengths, seen = [], [], set()
    for record in records:
        # Ranks that share their tokens (tensor parallelism) recorded the same ones.
        key = (record["forward_pass_id"], tuple(record["input_ids"]), tuple(record["positions"]))
        if key in seen:
            continue
        seen.add(key)
        ids = array(record["topk_ids_of_layer"])  # [layers, tokens, slots]
        topk_ids.append(numpy.ascontiguousarray(ids.transpose(1, 0, 2)))
        lengths += stretches(record, ids.shape[1])
    return {
        "topk_ids_of_layer": numpy.concatenate(topk_ids),
        "sequence_lengths": numpy.asarray(lengths, dtype=numpy.int64),
    }


def main(arguments):
    if len(arguments) < 2 or not arguments[0].endswith(".npz"):
        fail("expected OUT.npz FILE.pt...")
    out, paths = arguments[0], arguments[1:]
    datas = [load(path) for path in paths]
    if "logical_count" in datas[0]:
        if len(datas) > 1:
            fail(f"{paths[1]}: expected one file of mode stat, which is of all ranks")
        arrays = convert_stat(paths[0], datas[0])
    else:
        records = records_of(paths, datas)
        arrays = convert_per_token(records) if "topk_ids_of_layer" in records[0] else convert_per_pass(records)
        arrays["physical_to_logical_map"] = array(datas[0]["last_physical_to_logical_map"])
    numpy.savez(out, **arrays)
    print(f"{out}: " + ", ".join(f"{name} {list(value.shape)}" for name, value in arrays.items()))


if __name__ == "__main__":
    main(sys.argv[1:])
