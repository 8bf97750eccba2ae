#include <cmath>

#include "tests/unit/routing/fixture.hpp"
#include "workloads/routing/count_trace.hpp"
#include "workloads/routing/statistics.hpp"
#include "workloads/routing/write_trace.hpp"

using namespace moesim;

namespace {

std::string fault(std::string_view json) {
  return error_of([&] { parse_counts("c.json", json); });
}

}  // namespace

TEST_CASE("counts: rows of zeros are dense layers and dropped, with a note which") {
  const CountTrace counts = parse_counts("c.json", R"({"logical_count": [[0, 0], [1, 2.5], [0.0, 0], [3, 0]]})");
  CHECK(counts.layers == 2);
  CHECK(counts.experts == 2);
  CHECK(counts.counts == std::vector{1.0, 2.5, 3.0, 0.0});
  CHECK(counts.file_layers == std::vector<std::size_t>{1, 3});
}

TEST_CASE("counts: what is wrong is said") {
  CHECK(fault(R"({"logical_count": [[1, -2]]})") ==
        "c.json#/logical_count/0/1: expected a number, 0 to 9007199254740992, found the number -2");
  CHECK(fault(R"({"logical_count": [[1, 2], [1, 2, 3]]})") ==
        "c.json#/logical_count/1: expected 2 experts, as in the first layer, found 3");
  CHECK(fault(R"({"logical_count": []})") == "c.json#/logical_count: expected counts [layers][experts], found none");
  CHECK(fault(R"({"logical_count": [[0, 0]]})") ==
        "c.json#/logical_count: expected at least one layer with tokens, found only zeros");
  CHECK(fault(R"({"logical_counts": [[1]]})") != "nothing");
  CHECK(fault(R"({"logical_count": [[1e999]]})") != "nothing");
}

TEST_CASE("counts: they must be the model's") {
  const CountTrace counts = parse_counts("c.json", R"({"logical_count": [[1, 2]]})");
  CHECK(error_of([&] { check_counts(counts, {.moe_layers = 1, .all_layers = 1, .k = 1, .experts = 4}); }) ==
        "c.json#/logical_count: expected 4 experts, as the model has, found 2");
  CHECK(error_of([&] { check_counts(counts, {.moe_layers = 2, .all_layers = 3, .k = 1, .experts = 2}); }) ==
        "c.json#/logical_count: expected counts of 2 layers, as many as the model has MoE layers, found 1 layers with "
        "tokens");
  CHECK(error_of([&] { check_counts(counts, {.moe_layers = 1, .all_layers = 3, .k = 1, .experts = 2}); }) == "nothing");
}

TEST_CASE("statistics: a layer by hand") {
  // c = 1, 2, 3, 4, 6, 0, 0, 0: Σ = 16, mean 2. max/mean = 6/2 = 3.
  // Ascending 0 0 0 1 2 3 4 6, weights 2i−n−1 = −7 −5 −3 −1 1 3 5 7: −1 + 2 + 9 + 20 + 42 = 72; Gini = 72/(8·16).
  // Entropy with p = c/16: Σ p·log₂(1/p) = (1·4 + 2·3 + 3·(4−log₂3) + 4·2 + 6·(3−log₂3))/16 = (48 − 9·log₂3)/16.
  // Two ranks: 10 and 6, max/mean 10/8; four: 3, 7, 6, 0, max/mean 7/4.
  const CountTrace counts =
      parse_counts("c.json", R"({"logical_count": [[0,0,0,0,0,0,0,0], [1, 2, 3, 4, 6, 0, 0, 0]]})");
  const TraceStatistics result = statistics(counts, 2);
  REQUIRE(result.layers.size() == 1);
  const LayerStatistics& layer = result.layers.front();
  CHECK(layer.layer == 1);
  CHECK(layer.choices == 16.0);
  CHECK(layer.tokens == 8.0);
  CHECK(layer.max_over_mean == Approx(3.0));
  CHECK(layer.gini == Approx(72.0 / 128.0));
  CHECK(layer.entropy == Approx((48.0 - 9.0 * std::log2(3.0)) / 16.0));
  REQUIRE(result.ranks.size() == 3);
  CHECK(result.ranks[0].ranks == 2);
  CHECK(result.ranks[0].max_over_mean_mean == Approx(1.25));
  CHECK(result.ranks[1].max_over_mean_mean == Approx(1.75));
  CHECK(result.ranks[2].max_over_mean_mean == Approx(3.0));
}

TEST_CASE("statistics: mean and worst are over layers") {
  // Two ranks: layer one 3:1, max/mean 3/2; layer two balanced, 1.
  const TraceStatistics result =
      statistics(parse_counts("c.json", R"({"logical_count": [[2, 1, 1, 0], [1, 1, 1, 1]]})"));
  CHECK(result.ranks[0].max_over_mean_mean == Approx(1.25));
  CHECK(result.ranks[0].max_over_mean_worst == Approx(1.5));
  CHECK_FALSE(result.layers[0].tokens);
}

TEST_CASE("statistics: balanced loads have no Gini and full entropy") {
  const std::vector<double> loads(256, 7.0);
  CHECK(gini(loads) == Approx(0.0).margin(1e-12));
  CHECK(entropy_bits(loads) == Approx(8.0));
  CHECK(max_over_mean(loads) == Approx(1.0));
}

TEST_CASE("writers: counts come back as they were, dense layers too") {
  const CountTrace counts = parse_counts("c.json", R"({"logical_count": [[0, 0], [1, 2.5], [0, 0], [3, 0]]})");
  CHECK(parse_counts("c.json", counts_json(counts)) == counts);
}

TEST_CASE("writers: a trace comes back as it was, whatever type it had") {
  const Folder folder("convert");
  // uint16 in the file, as 300 does not fit in a byte.
  const auto wide =
      folder.write("wide.npy", npy_with_header(npy_header("<i8", "2, 1, 2"), raw<std::int64_t>({300, 1, 2, 299})));
  const auto narrow =
      folder.write("narrow.npy", npy_with_header(npy_header("<i8", "2, 1, 2"), raw<std::int64_t>({255, 1, 2, 254})));
  for (const auto& [path, element] : {std::pair{wide, NpyType::kUint16}, std::pair{narrow, NpyType::kUint8}}) {
    write_trace(open_recording(path), folder.at("out.npy"));
    const MappedFile out(folder.at("out.npy"));
    const NpyHeader header = parse_npy_header(out.bytes(), "out.npy");
    CHECK(header.type == element);
    CHECK(header.data_offset % 64 == 0);
    const TokenTrace before = TokenTrace::open(path);
    const TokenTrace after = TokenTrace::open(folder.at("out.npy"));
    REQUIRE(after.shape() == before.shape());
    for (std::size_t token = 0; token < 2; ++token) {
      std::vector<ExpertIndex> a(2);
      std::vector<ExpertIndex> b(2);
      before.read(token, 0, a);
      after.read(token, 0, b);
      CHECK(a == b);
    }
  }
  write_trace(open_recording(narrow), folder.at("counts.json"));
  const CountTrace counts = read_counts(folder.at("counts.json"));
  CHECK(counts.experts == 256);
  CHECK(counts.counts[254] == 1.0);
  CHECK(counts.counts[3] == 0.0);
  CHECK(error_of([&] { write_trace(open_recording(narrow), folder.at("out.csv")); }) ==
        folder.at("out.csv").string() +
            ": expected a name that ends in .npy or .npz (choices) or .json (counts), found \"out.csv\"");
}

TEST_CASE("statistics: the recordings are as uneven as was published about them") {
  MOESIM_NEEDS_RECORDINGS();
  // Computed independently from the files: mean over 58 layers of max/mean over experts and over 8 and 32 ranks.
  const TraceStatistics decode = statistics(read_counts(recordings() / "deepseek-v3/decode_in1000out1000.json"), 8);
  REQUIRE(decode.layers.size() == 58);
  CHECK(decode.layers.front().layer == 3);
  CHECK(*decode.layers.front().tokens == Approx(18413568.0));
  double mean = 0.0;
  for (const LayerStatistics& layer : decode.layers) {
    mean += layer.max_over_mean / 58.0;
  }
  CHECK(mean == Approx(5.564).epsilon(2e-4));
  CHECK(decode.ranks[2].ranks == 8);
  CHECK(decode.ranks[2].max_over_mean_mean == Approx(2.014).epsilon(3e-4));
  CHECK(decode.ranks[4].max_over_mean_mean == Approx(2.880).epsilon(3e-4));
  const TokenTrace lite = TokenTrace::open(recordings() / "deepseek-v2-lite/law_T8327_L26_K6_E64.u8");
  CHECK(lite.shape() == RoutingShape{.tokens = 8327, .layers = 26, .k = 6, .experts = 64});
  CHECK(lite.rows_with_duplicates() == 0);
  for (const LayerStatistics& layer : statistics(count(lite), 6).layers) {
    CHECK(*layer.tokens == 8327.0);
  }
}

TEST_CASE("Counts too large to add up are refused") {
  CHECK_THROWS_WITH(parse_counts("c.json", R"({"logical_count": [[1, 1e308]]})"),
                    "c.json#/logical_count/0/1: expected a number, 0 to 9007199254740992, found the number 1e+308");
}
