#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <span>

#include "comparisons.hpp"
#include "sim/placement/bound.hpp"
#include "sim/placement/eplb.hpp"
#include "workloads/routing/count_trace.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

const std::filesystem::path kData = std::filesystem::path(MOESIM_SHARED_DATA) / "routing";

bool absent(const std::filesystem::path& path) {
  if (std::filesystem::exists(path)) {
    return false;
  }
  WARN("skipped: the recorded routing is not here (" << path.string() << ")");
  return true;
}

double busiest(std::span<const double> loads, const std::vector<std::uint16_t>& slots, std::size_t ranks) {
  const auto rank = rank_loads(layer_of_slots(loads.size(), ranks, slots), loads);
  return *std::max_element(rank.begin(), rank.end());
}

}  // namespace

// 288 slots on 32 ranks: EPLB's copies leave the heaviest one below a rank's mean, so that the mean is the bound.
TEST_CASE("recorded DeepSeek-V3 counts: the search comes within 1 % of the bound on every layer") {
  for (const char* file : {"decode_in1000out1000.json", "prefill_in4096.json"}) {
    const auto path = kData / "deepseek-v3" / file;
    if (absent(path)) {
      return;
    }
    const CountTrace counts = read_counts(path);
    PlacementProblem problem{.layers = counts.layers, .experts = 256, .ranks = 32, .seed = 1, .redundant = 32};
    problem.loads = counts.counts;
    const TaskPool pool(2);
    problem.pool = &pool;
    const Placement placement = find_strategy("search", {}).make()->place(problem);
    for (std::size_t layer = 0; layer < counts.layers; ++layer) {
      INFO(file << ", layer " << layer);
      const auto loads = counts.layer(layer);
      const double bound = max_load_bound(loads, 288, 32);
      const auto rank = rank_loads(placement.layers[layer], loads);
      const double found = *std::max_element(rank.begin(), rank.end());
      CHECK(found >= bound * (1.0 - 1e-12));
      CHECK(found <= bound * 1.01);
      CHECK(found <= busiest(loads, eplb(loads, {288, 1, 1, 32}).phy2log, 32) * (1.0 + 1e-12));
    }
  }
}

TEST_CASE("recorded DeepSeek-V2-Lite tokens: fitted on the first half, judged on the second") {
  const auto path = kData / "deepseek-v2-lite/law_T8327_L26_K6_E64.u8";
  if (absent(path)) {
    return;
  }
  const auto config =
      comparison(kSmall, {"/model=\"deepseek-v2-lite\"", "/traces=[\"" + path.string() + "\"]",
                          R"(/strategies=["contiguous", "eplb-global", "search"])", "/fidelity=\"bound\""});
  const PlacementComparison result = compare_placements(config, {"place.json", {}}, TaskPool(2));
  const std::string trace = path.string();
  for (const PlacementRow& row : result.rows) {
    REQUIRE(row.step_time_later.has_value());
    CHECK(*row.step_time_later > 0.0);
  }
  // What was learnt on the first half holds on the second: better than no placement at all, worse than on the first.
  const PlacementRow& search = row_of(result, "search", trace);
  const PlacementRow& contiguous = row_of(result, "contiguous", trace);
  CHECK(*search.imbalance_mean_later < *contiguous.imbalance_mean_later);
  CHECK(*search.imbalance_mean_later > search.imbalance_mean);
  CHECK(result.provenance[0].find("fitted on tokens 0 to 4163") != std::string::npos);
}
