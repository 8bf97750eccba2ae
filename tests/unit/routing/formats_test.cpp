#include <array>

#include "tests/unit/routing/fixture.hpp"
#include "workloads/routing/formats/npz.hpp"
#include "workloads/routing/formats/recording.hpp"
#include "workloads/routing/write_trace.hpp"

using namespace moesim;

namespace {

/// What numpy 1.24.2 wrote: numpy.savez_compressed("vllm.npz", a=…, b=…) of int32 arrays
/// a = [[[0,1],[2,3]],[[1,2],[3,0]]] and b = [[[3,1],[0,2]]].
constexpr std::string_view kNumpyNpz =
    "504b030414000000080000002100533ec16153000000a000000005001400"
    "612e6e707901001000a00000000000000053000000000000009bec17ea1b"
    "10c9c850c650ad9e925a9c5ca46ea5a06e9369a2aea3a09e965f54529498"
    "179f5f94920a12774bcc294e058a17672416a402f91a463a0a20a4a9a350"
    "ab401ee06200024620660262663436080000504b03041400000008000000"
    "2100d2f54de4520000009000000005001400622e6e707901001000900000"
    "000000000052000000000000009bec17ea1b10c9c850c650ad9e925a9c5c"
    "a46ea5a06e9369a2aea3a09e965f54529498179f5f94920a12774bcc294e"
    "058a17672416a402f91a863a0a4640a4a9a350ab401ee062666060606480"
    "0026200600504b0102140314000000080000002100533ec16153000000a0"
    "000000050000000000000000000000800100000000612e6e7079504b0102"
    "140314000000080000002100d2f54de45200000090000000050000000000"
    "00000000000080018a000000622e6e7079504b0506000000000200020066"
    "000000130100000000";

std::string from_hex(std::string_view hex) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(digit(hex[i]) * 16 + digit(hex[i + 1]));
  }
  return bytes;
}

NpzArray array(std::string name, NpyType type, std::vector<std::size_t> shape, std::string data) {
  return {std::move(name), type, std::move(shape), [data = std::move(data)](std::string& out) mutable {
            out += data;
            data.clear();
          }};
}

NpzArray int32s(std::string name, std::vector<std::size_t> shape, const std::vector<long long>& values) {
  return array(std::move(name), NpyType::kInt32, std::move(shape), raw<std::int32_t>(values));
}

std::filesystem::path npz(const Folder& folder, const std::string& name, std::vector<NpzArray> arrays) {
  write_npz(folder.at(name), std::move(arrays));
  return folder.at(name);
}

std::vector<ExpertIndex> all_choices(const TokenTrace& trace) {
  std::vector<ExpertIndex> all;
  std::vector<ExpertIndex> row(trace.shape().k);
  for (std::size_t token = 0; token < trace.shape().tokens; ++token) {
    for (std::size_t layer = 0; layer < trace.shape().layers; ++layer) {
      trace.read(token, layer, row);
      all.insert(all.end(), row.begin(), row.end());
    }
  }
  return all;
}

std::vector<std::size_t> starts(const TokenTrace& trace) {
  return {trace.sequence_starts().begin(), trace.sequence_starts().end()};
}

/// A .safetensors file of tensors of one type.
struct Tensor {
  std::string name;
  std::string shape;
  std::string data;
};
std::string safetensors(const std::string& dtype, const std::vector<Tensor>& tensors) {
  std::string header = R"({"__metadata__":{"format":"pt"})";
  std::string data;
  for (const Tensor& tensor : tensors) {
    const std::string offsets = std::to_string(data.size()) + "," + std::to_string(data.size() + tensor.data.size());
    header += ",\"" + tensor.name + R"(":{"dtype":")" + dtype + R"(","shape":[)" + tensor.shape +
              R"(],"data_offsets":[)" + offsets + "]}";
    data += tensor.data;
  }
  header += "}";
  return raw<std::uint64_t>({static_cast<long long>(header.size())}) + header + data;
}

std::string fault(const std::filesystem::path& path, const TraceOptions& options = {}) {
  return error_of([&] { open_recording(path, options); });
}

}  // namespace

TEST_CASE("formats: an archive that numpy compressed is a sequence an array") {
  const Folder folder("numpy-npz");
  const auto path = folder.write("vllm.npz", from_hex(kNumpyNpz));
  const Recording recording = open_recording(path);
  CHECK(recording.format == "npz");
  REQUIRE(recording.tokens() != nullptr);
  const TokenTrace& trace = *recording.tokens();
  CHECK(trace.shape() == RoutingShape{.tokens = 3, .layers = 2, .k = 2, .experts = 4});
  CHECK(all_choices(trace) == std::vector<ExpertIndex>{0, 1, 2, 3, 1, 2, 3, 0, 3, 1, 0, 2});
  CHECK(starts(trace) == std::vector<std::size_t>{0, 2});
}

TEST_CASE("formats: what we write as .npz comes back, with its sequences and experts") {
  const Folder folder("round-trip-npz");
  const auto first = folder.write("x_T3_L1_K2_E9.u8", std::string("\0\1\2\3\1\0", 6));
  static_cast<void>(folder.write("x_seq_lens.json", "[1, 2]"));
  const Recording recording = open_recording(first);
  CHECK(recording.format == "raw");
  write_trace(recording, folder.at("x.npz"));
  write_trace(recording, folder.at("again.npz"));
  CHECK(read_file(folder.at("x.npz")) == read_file(folder.at("again.npz")));
  const Recording back = open_recording(folder.at("x.npz"));
  REQUIRE(back.tokens() != nullptr);
  CHECK(back.notes.empty());
  CHECK(back.tokens()->shape() == recording.tokens()->shape());
  CHECK(back.tokens()->shape().experts == 9);
  CHECK(starts(*back.tokens()) == starts(*recording.tokens()));
  CHECK(all_choices(*back.tokens()) == all_choices(*recording.tokens()));
}

TEST_CASE("formats: arrays in an archive must agree, and others are named") {
  const Folder folder("npz-faults");
  const auto mixed = npz(folder, "mixed.npz", {int32s("a", {1, 1, 2}, {0, 1}), int32s("b", {1, 1, 3}, {0, 1, 2})});
  CHECK(fault(mixed) == mixed.string() + "#/b: expected int32 [tokens, 1, 2], as a is, found int32 [1, 1, 3]");
  const auto other = npz(folder, "other.npz", {int32s("a", {1, 1, 2}, {0, 1}), int32s("ids", {1}, {7})});
  CHECK(open_recording(other).notes == std::vector<std::string>{other.string() + "#/ids: not read"});
  const auto none = npz(folder, "none.npz", {int32s("ids", {1}, {7})});
  CHECK(fault(none) ==
        none.string() + ": expected integer arrays [tokens, layers, k] in the archive, found ids int32 [1]");
  const auto bare = folder.at("mixed.npz").parent_path();
  CHECK(fault(bare) == bare.string() +
                           ": expected a file, or a folder with meta_info.json and rank*.safetensors (TensorRT-LLM), "
                           "found a folder without them");
  const auto floats = npz(folder, "floats.npz", {array("a", NpyType::kFloat32, {1, 1, 1}, std::string(4, '\0'))});
  CHECK(fault(floats) == floats.string() + "#/a: expected expert ids of an integer type, found float32");
}

TEST_CASE("formats: damaged archives are refused") {
  const Folder folder("npz-damaged");
  const std::string whole = from_hex(kNumpyNpz);
  const auto cut = folder.write("cut.npz", whole.substr(0, whole.size() - 30));
  CHECK(fault(cut).starts_with(cut.string() + ": expected an .npz archive, found a file that has no zip directory"));
  // A bit of the compressed data is flipped: the checksum, or what unpacks, no longer fits.
  std::string flipped = whole;
  flipped[100] = static_cast<char>(flipped[100] ^ 4);
  const auto damaged = folder.write("damaged.npz", flipped);
  CHECK(fault(damaged) != "nothing");
  CHECK(fault(folder.at("missing.npz")) ==
        folder.at("missing.npz").string() + ": cannot open the file: No such file or directory");
  const auto text = folder.write("text.npz", "no archive at all");
  CHECK(fault(text).starts_with(text.string() + ": expected an .npz archive, found a file that has no zip directory"));
}

TEST_CASE("formats: files of torch.save are named, with what to do") {
  const Folder folder("torch");
  // An archive with the member that torch's have; the writer names all .npy, so that the name is put in by hand.
  const auto path = npz(folder, "a.pt", {int32s("archive/data.pkl.", {1}, {1})});
  std::string bytes = read_file(path);
  const std::string from = "archive/data.pkl..npy";
  for (std::size_t at = bytes.find(from); at != std::string::npos; at = bytes.find(from)) {
    bytes.replace(at, from.size(), "long_archive/data.pkl");
  }
  static_cast<void>(folder.write("a.pt", bytes));
  CHECK(fault(path) == path.string() +
                           ": expected arrays, found a torch.save file: convert it with "
                           "workloads/routing/tools/sglang_to_npz.py where torch is installed");
}

TEST_CASE("formats: SGLang counts of steps, without the places of the buffer that were never written") {
  const Folder folder("sglang-stat");
  // Three steps, layer 0 dense, the last step empty.
  const auto path = npz(folder, "stat.npz", {int32s("logical_count", {3, 2, 2}, {0, 0, 3, 1, 0, 0, 1, 1, 0, 0, 0, 0})});
  const Recording recording = open_recording(path);
  CHECK(recording.format == "sglang-stat");
  const CountTrace counts = counts_of(recording);
  CHECK(counts.layers == 1);
  CHECK(counts.file_layers == std::vector<std::size_t>{1});
  CHECK(counts.counts == std::vector<double>{4, 2});
  CHECK(counts.steps == 2);
  CHECK(counts.step_counts == std::vector<double>{3, 1, 1, 1});

  write_trace(recording, folder.at("again.npz"));
  CountTrace again = read_counts(folder.at("again.npz"));
  again.name = counts.name;
  CHECK(again == counts);
  write_trace(recording, folder.at("sum.json"));
  CHECK(read_counts(folder.at("sum.json")).counts == counts.counts);
  CHECK(error_of([&] { write_trace(recording, folder.at("x.npy")); }) ==
        folder.at("x.npy").string() + ": expected a name that ends in .json or .npz, for counts, found .npy");
  CHECK(error_of([&] { TokenTrace::open(path); }) ==
        path.string() + ": expected choices of tokens, found counts only (sglang-stat)");

  const auto negative = npz(folder, "negative.npz", {int32s("logical_count", {1, 1, 2}, {1, -4})});
  CHECK(fault(negative) ==
        negative.string() + "#/logical_count: expected counts from 0 on, found -4 at record 0, layer 0, expert 1");
  const auto flat = npz(folder, "flat.npz", {int32s("logical_count", {1, 2}, {1, 4})});
  CHECK(fault(flat) == flat.string() +
                           "#/logical_count: expected counts of an integer type [steps, layers, experts], found "
                           "int32 [1, 2]");
}

TEST_CASE("formats: SGLang JSON counts may have steps") {
  const CountTrace counts = parse_counts("c.json", R"({"logical_count": [[[1, 0]], [[2, 3]]]})");
  CHECK(counts.counts == std::vector<double>{3, 3});
  CHECK(counts.steps == 2);
  CHECK(counts.step_counts == std::vector<double>{1, 0, 2, 3});
  CHECK(error_of([] { parse_counts("c.json", R"({"logical_count": [[[1, 0]], [[2, 3], [1, 1]]]})"); }) ==
        "c.json#/logical_count/1: expected 1 layers, as in the first step, found 2");
  CHECK(error_of([] { parse_counts("c.json", R"({"logical_count": [[[1, 0]], [[2, 3, 4]]]})"); }) ==
        "c.json#/logical_count/1/0: expected 2 experts, as in the first layer, found 3");
}

TEST_CASE("formats: SGLang passes add up over ranks and over copies of an expert") {
  const Folder folder("sglang-pass");
  // Pass 7 on ranks 0 and 1, pass 9 on rank 0; physical experts 0 .. 3 are copies of 0, 1, 2, 0.
  // Pass 7: physical 1+0, 2+0, 3+0, 4+1 → experts 0: 1 + 5 = 6, 1: 2, 2: 3. Pass 9: expert 1 once.
  const auto counts = int32s("global_physical_count", {3, 1, 4}, {1, 2, 3, 4, 0, 0, 0, 1, 0, 1, 0, 0});
  const auto map = int32s("physical_to_logical_map", {1, 4}, {0, 1, 2, 0});
  const auto path = npz(folder, "pass.npz", {counts, int32s("forward_pass_id", {3}, {7, 7, 9}), map});
  const Recording recording = open_recording(path);
  CHECK(recording.format == "sglang-per-pass");
  const CountTrace read = counts_of(recording);
  CHECK(read.experts == 3);
  CHECK(read.counts == std::vector<double>{6, 3, 3});
  CHECK(read.step_counts == std::vector<double>{6, 2, 3, 0, 1, 0});

  const auto no_map = npz(folder, "no_map.npz", {counts, int32s("forward_pass_id", {3}, {7, 7, 9})});
  CHECK(fault(no_map) == no_map.string() +
                             ": expected an array \"physical_to_logical_map\" in the archive, found "
                             "global_physical_count, forward_pass_id");
  const auto short_map =
      npz(folder, "short.npz",
          {counts, int32s("forward_pass_id", {3}, {7, 7, 9}), int32s("physical_to_logical_map", {1, 3}, {0, 1, 2})});
  CHECK(fault(short_map) == short_map.string() +
                                "#/physical_to_logical_map: expected [1, 4], as global_physical_count has layers and "
                                "physical experts, found [1, 3]");
  const auto passes = npz(folder, "passes.npz", {counts, int32s("forward_pass_id", {2}, {7, 9}), map});
  CHECK(fault(passes) == passes.string() + "#/forward_pass_id: expected a number for each of 3 records, found 2");
}

TEST_CASE("formats: SGLang tokens go from physical to logical experts, and what nobody wrote is left out") {
  const Folder folder("sglang-token");
  // Layer 0 is dense, the third slot is never used, the third of four tokens is padding. Layer 1: physical 0 .. 3 are
  // copies of 2, 1, 0, 1.
  const auto ids = int32s("topk_ids_of_layer", {4, 2, 3}, {-1, -1, -1, 0,  1,  -1,  //
                                                           -1, -1, -1, 3,  0,  -1,  //
                                                           -1, -1, -1, -1, -1, -1,  //
                                                           -1, -1, -1, 2,  1,  -1});
  const auto map = int32s("physical_to_logical_map", {2, 4}, {0, 1, 2, 0, 2, 1, 0, 1});
  const auto path = npz(folder, "token.npz", {ids, map, int32s("sequence_lengths", {2}, {3, 1})});
  const Recording recording = open_recording(path);
  CHECK(recording.format == "sglang-per-token");
  CHECK(recording.notes == std::vector<std::string>{"1 tokens of nothing but -1 left out: padding of a batch"});
  REQUIRE(recording.tokens() != nullptr);
  const TokenTrace& trace = *recording.tokens();
  CHECK(trace.shape() == RoutingShape{.tokens = 3, .layers = 1, .k = 2, .experts = 3});
  CHECK(all_choices(trace) == std::vector<ExpertIndex>{2, 1, 1, 2, 0, 1});
  CHECK(starts(trace) == std::vector<std::size_t>{0, 2});
  CHECK(trace.file_layers()[0] == 1);

  const auto holes =
      npz(folder, "holes.npz",
          {int32s("topk_ids_of_layer", {2, 1, 2}, {0, 1, 1, -1}), int32s("physical_to_logical_map", {1, 2}, {0, 1})});
  CHECK(fault(holes) == holes.string() +
                            "#/topk_ids_of_layer: expected physical experts from 0 to 1, found -1 at token 1, layer 0, "
                            "slot 1, where other tokens have one");
  const auto lengths = npz(folder, "lengths.npz", {ids, map, int32s("sequence_lengths", {2}, {3, 2})});
  CHECK(fault(lengths) == lengths.string() +
                              "#/sequence_lengths: expected lengths that add up to the 4 tokens of "
                              "topk_ids_of_layer, found more");
}

namespace {

constexpr std::string_view kMeta = R"({"num_experts": 3, "num_experts_per_token": 2})";

}  // namespace

TEST_CASE("formats: TensorRT-LLM counts add up over ranks, whatever names the folder") {
  const Folder folder("trt-counts");
  static_cast<void>(folder.write("meta_info.json", kMeta));
  static_cast<void>(folder.write(
      "rank0.safetensors",
      safetensors("I64", {{"50_3", "3", raw<std::int64_t>({1, 2, 3})}, {"51_3", "3", raw<std::int64_t>({0, 4, 0})}})));
  const auto rank1 = folder.write(
      "rank1.safetensors",
      safetensors("I64", {{"50_3", "3", raw<std::int64_t>({1, 0, 1})}, {"51_3", "3", raw<std::int64_t>({2, 0, 2})}}));
  for (const std::string name : {"", "meta_info.json", "rank1.safetensors"}) {
    const Recording recording = open_recording(name.empty() ? rank1.parent_path() : folder.at(name));
    CHECK(recording.format == "tensorrt-llm");
    CHECK(recording.files.size() == 3);
    const CountTrace counts = counts_of(recording);
    CHECK(counts.k == 2);
    CHECK(counts.file_layers == std::vector<std::size_t>{3});
    CHECK(counts.counts == std::vector<double>{4, 6, 6});
    CHECK(counts.step_counts == std::vector<double>{2, 2, 4, 2, 4, 2});
  }
  const std::string text = read_file(rank1);
  static_cast<void>(folder.write("rank1.safetensors", text.substr(0, text.size() - 1)));
  CHECK(fault(rank1) == rank1.string() + "#/51_3: expected data up to byte 48, found 47 bytes: the file is truncated");
  static_cast<void>(folder.write("rank1.safetensors", "short"));
  CHECK(fault(rank1) == rank1.string() +
                            ": expected a .safetensors header (its length in 8 bytes, then JSON), found a file of 5 "
                            "bytes that is shorter");
  static_cast<void>(folder.write("rank1.safetensors", safetensors("I64", {{"50", "3", raw<std::int64_t>({1, 0, 1})}})));
  CHECK(fault(rank1) == rank1.string() + "#/50: expected a name \"ITERATION_LAYER\", found \"50\"");
  static_cast<void>(folder.write("rank1.safetensors", safetensors("F32", {{"50_3", "3", raw<float>({1, 0, 1})}})));
  CHECK(fault(rank1) == rank1.string() + "#/50_3: expected integers, found float32");
  static_cast<void>(folder.write("rank1.safetensors", safetensors("I64", {{"50_3", "2", raw<std::int64_t>({1, 0})}})));
  CHECK(fault(rank1) == rank1.string() + "#/50_3: expected counts [3], as meta_info.json says, found [2]");
  static_cast<void>(folder.write("rank1.safetensors", safetensors("I64", {{"50_3", "4", raw<std::int64_t>({1, 0})}})));
  CHECK(fault(rank1) == rank1.string() + "#/50_3: expected offsets of the bytes of I64 [4], found [0, 16]");
}

TEST_CASE("formats: TensorRT-LLM choices are tokens, iteration by iteration and rank by rank") {
  const Folder folder("trt-raw");
  static_cast<void>(folder.write("meta_info.json", kMeta));
  static_cast<void>(
      folder.write("rank0.safetensors", safetensors("I64", {{"1_0", "3", raw<std::int64_t>({1, 2, 3})}})));
  const auto raw0 =
      folder.write("rank0_raw.safetensors", safetensors("I32", {{"1_0", "2,2", raw<std::int32_t>({0, 1, 1, 2})},
                                                                {"1_4", "2,2", raw<std::int32_t>({2, 1, 0, 2})},
                                                                {"2_0", "1,2", raw<std::int32_t>({2, 0})},
                                                                {"2_4", "1,2", raw<std::int32_t>({1, 0})}}));
  static_cast<void>(folder.write(
      "rank1_raw.safetensors",
      safetensors("I32", {{"1_0", "1,2", raw<std::int32_t>({0, 2})}, {"1_4", "1,2", raw<std::int32_t>({1, 2})}})));
  const Recording recording = open_recording(raw0.parent_path());
  CHECK(recording.format == "tensorrt-llm-raw");
  REQUIRE(recording.tokens() != nullptr);
  const TokenTrace& trace = *recording.tokens();
  CHECK(trace.shape() == RoutingShape{.tokens = 4, .layers = 2, .k = 2, .experts = 3});
  // Iteration 1: two tokens of rank 0, one of rank 1; iteration 2: one of rank 0. Each: layer 0, then layer 4.
  CHECK(all_choices(trace) == std::vector<ExpertIndex>{0, 1, 2, 1, 1, 2, 0, 2, 0, 2, 1, 2, 2, 0, 1, 0});
  CHECK(trace.file_layers()[1] == 4);
  TraceOptions counts_wanted;
  counts_wanted.format = "tensorrt-llm";
  CHECK(open_recording(raw0.parent_path(), counts_wanted).tokens() == nullptr);

  static_cast<void>(folder.write(
      "rank1_raw.safetensors",
      safetensors("I32", {{"1_0", "1,2", raw<std::int32_t>({0, 3})}, {"1_4", "1,2", raw<std::int32_t>({1, 2})}})));
  CHECK(fault(raw0.parent_path()) == folder.at("rank1_raw.safetensors").string() +
                                         "#/1_0: expected expert ids from 0 to 2, found 3 at token 0, slot 1");
  static_cast<void>(
      folder.write("rank1_raw.safetensors", safetensors("I32", {{"1_0", "1,2", raw<std::int32_t>({0, 2})}})));
  CHECK(fault(raw0.parent_path()) == folder.at("rank1_raw.safetensors").string() +
                                         ": expected all of the 2 recorded layers in iteration 1, found 1");
}

TEST_CASE("formats: a format can be named, and a wrong name is not guessed at") {
  const Folder folder("named");
  const auto path = folder.write("t.npy", npy_with_header(npy_header("|u1", "1, 1, 2"), raw<std::uint8_t>({0, 1})));
  TraceOptions options;
  options.format = "npy";
  CHECK(open_recording(path, options).tokens()->shape().tokens == 1);
  options.format = "sglang-stats";
  CHECK(fault(path, options) == path.string() +
                                    ": expected a format of recorded routing, found \"sglang-stats\"; did you mean "
                                    "\"sglang-stat\"?");
}

TEST_CASE("formats: npy errors name the file and what is wrong with it") {
  const Folder folder("npy-faults");
  const auto check = [&](const std::string& bytes, const std::string& expected) {
    const auto path = folder.write("x.npy", bytes);
    CHECK(fault(path) == path.string() + ": " + expected);
  };
  check(npy_with_header(npy_header("<i4", "1, 1, 2", "True"), std::string(8, '\0')),
        "expected an array in C order, found Fortran order (save numpy.ascontiguousarray of it)");
  check(npy_with_header(npy_header(">i4", "1, 1, 2"), std::string(8, '\0')),
        "expected little-endian elements, found big-endian ones (descr '>i4')");
  check(npy_with_header(npy_header("<i4", "1, 1, 2"), std::string(7, '\0')),
        "expected 8 bytes of data for shape [1, 1, 2] of int32, found 7: the file is truncated");
}
