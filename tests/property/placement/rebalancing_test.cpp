#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>

#include "comparisons.hpp"
#include "sim/core/file.hpp"
#include "sim/planning/migration.hpp"
#include "tests/scratch.hpp"
#include "workloads/routing/write_trace.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

constexpr std::size_t kLayers = 16;  // OLMoE, as in kSmall
constexpr std::size_t kTopK = 8;
constexpr std::size_t kExperts = 64;

Placement one_layer(std::size_t ranks, std::vector<std::uint16_t> slots, std::size_t experts) {
  return {{layer_of_slots(experts, ranks, slots)}};
}

double bytes_between(const MigrationTraffic& traffic, std::size_t from, std::size_t to) {
  const auto pairs = traffic.bytes.pairs();
  const auto found = std::find_if(pairs.begin(), pairs.end(), [&](const PairBytes& pair) {
    return pair.from == RankId(from) && pair.to == RankId(to);
  });
  return found == pairs.end() ? 0.0 : found->bytes;
}

/// A recording of equal parts. In each, half of the tokens go to the eight experts from `hot` on, the others walk
/// through all experts.
std::filesystem::path write_recording(const std::filesystem::path& folder, const std::vector<std::size_t>& hot) {
  constexpr std::size_t kTokens = 512;  // of a part
  StepRouting step;
  step.shape = {hot.size() * kTokens, kLayers, kTopK, kExperts};
  step.choices.resize(step.shape.tokens * kLayers * kTopK);
  for (std::size_t layer = 0; layer < kLayers; ++layer) {
    for (std::size_t token = 0; token < step.shape.tokens; ++token) {
      for (std::size_t i = 0; i < kTopK; ++i) {
        const std::size_t first = token % 2 == 0 ? hot[token / kTokens] : token % kTokens / 2;
        step.choices[(layer * step.shape.tokens + token) * kTopK + i] =
            static_cast<ExpertIndex>((first + i) % kExperts);
      }
    }
  }
  write_file(folder / "trace.npy", npy_bytes(step));
  return folder / "trace.npy";
}

PlacementComparison over_time(const std::vector<std::size_t>& hot) {
  const auto folder = moesim::test::scratch_path("moesim-rebalancing");
  const auto trace = write_recording(folder, hot);
  const auto config = comparison(
      kSmall, {"/traces=[\"" + trace.string() + "\"]", R"(/strategies=["contiguous"])", "/fidelity=\"bound\"",
               R"(/rebalance={"periods": 4, "every_steps": 100, "strategies": ["eplb-global", "eplb-vllm"]})"});
  PlacementComparison result = compare_placements(config, {"place.json", {}}, TaskPool(2));
  std::filesystem::remove_all(folder);
  return result;
}

}  // namespace

// Ranks 0 and 1 are one node, 2 and 3 the other.
TEST_CASE("weights come from the nearest rank that had the expert, of those from the one that sent least") {
  const ExpertWeights weights{bytes(1000.0), 1, 2};
  SECTION("two ranks of a node change places: each sends its expert to the other") {
    const auto traffic = migration_traffic(one_layer(4, {0, 1, 2, 3}, 4), one_layer(4, {1, 0, 2, 3}, 4), weights);
    CHECK(traffic.copies == 2);
    CHECK(bytes_between(traffic, 0, 1) == 1000.0);
    CHECK(bytes_between(traffic, 1, 0) == 1000.0);
    CHECK(traffic.bytes.pairs().size() == 2);
  }
  SECTION("expert 0 lies on ranks 0 and 2; rank 3 takes it from its own node") {
    const auto traffic = migration_traffic(one_layer(4, {0, 1, 0, 2, 0, 3, 2, 3}, 4),
                                           one_layer(4, {0, 1, 0, 2, 0, 3, 0, 3}, 4), weights);
    CHECK(traffic.copies == 1);
    CHECK(bytes_between(traffic, 2, 3) == 1000.0);
  }
  SECTION("experts 0 and 1 lie on both ranks of node 0; rank 2 takes one from each") {
    const auto traffic = migration_traffic(one_layer(4, {0, 1, 0, 1, 2, 3, 2, 3}, 4),
                                           one_layer(4, {0, 1, 2, 3, 0, 1, 2, 3}, 4), weights);
    // Rank 1 gets 2 and 3, one from either rank of node 1; rank 2 gets 0 and 1 likewise.
    CHECK(traffic.copies == 4);
    CHECK(bytes_between(traffic, 0, 2) == 1000.0);
    CHECK(bytes_between(traffic, 1, 2) == 1000.0);
    CHECK(bytes_between(traffic, 2, 1) + bytes_between(traffic, 3, 1) == 2000.0);
  }
  SECTION("another slot of the same rank is no move") {
    CHECK(migration_traffic(one_layer(2, {0, 1, 2, 3}, 4), one_layer(2, {1, 0, 3, 2}, 4), weights).copies == 0);
  }
  SECTION("parts of an expert go between like GPUs of two groups") {
    const auto traffic = migration_traffic(one_layer(2, {0, 1}, 2), one_layer(2, {1, 0}, 2), {bytes(1000.0), 2, 1});
    CHECK(traffic.copies == 2);
    CHECK(traffic.bytes.ranks() == 4);
    for (const auto& [from, to] : {std::pair{0, 2}, {1, 3}, {2, 0}, {3, 1}}) {
      CHECK(bytes_between(traffic, static_cast<std::size_t>(from), static_cast<std::size_t>(to)) == 500.0);
    }
  }
}

// One copy between two GPUs of a node takes the route's latency and bytes / its narrowest link.
TEST_CASE("a migration takes what its transfers take on idle links") {
  const auto config = comparison(kSmall);
  const PreparedStep step = prepare_step(scenario_of(config, 0, {"place.json", {}}), {"place.json", {}});
  const std::vector<std::uint16_t> slots = {0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7};
  std::vector<std::uint16_t> after = slots;
  after[1] = 0;  // rank 1 takes expert 0 from rank 0; expert 1 stays on rank 9
  const Migration moved = migrate(one_layer(16, slots, 8), one_layer(16, after, 8), {bytes(1e9), 1, 8}, step.cluster);
  const Route route = step.cluster.route(RankId(0), RankId(1));
  double narrowest = step.cluster.links()[route.hops.front().link.index()].capacity.base();
  for (const auto& [link, share] : route.hops) {
    narrowest = std::min(narrowest, step.cluster.links()[link.index()].capacity.base() / share);
  }
  CHECK(moved.copies == 1);
  CHECK(moved.bytes == 1e9);
  CHECK(moved.time.base() == Approx(route.latency.base() + 1e9 / narrowest).epsilon(1e-9));
}

TEST_CASE("the weights of an expert are three matrices, and copies of all experts are the memory of them") {
  const auto config = comparison(kSmall);
  const PreparedStep step = prepare_step(scenario_of(config, 0, {"place.json", {}}), {"place.json", {}});
  CHECK(expert_weights(step).expert.base() == Approx(3.0 * 2048 * 1024 * 2));  // OLMoE in bf16
}

TEST_CASE("what does not change is not moved, and is as fast placed once as in hindsight") {
  const PlacementComparison result = over_time({8, 8, 8, 8});
  REQUIRE(result.rebalancing.size() == 2);
  for (const RebalancingRow& row : result.rebalancing) {
    INFO(row.strategy);
    REQUIRE(row.periods.size() == 3);
    CHECK(row.moved().copies == 0.0);
    CHECK(row.moved().time == 0.0);
    CHECK(row.once() == Approx(row.rebalanced()).epsilon(1e-12));
    CHECK(row.once() == Approx(row.hindsight()).epsilon(1e-12));
  }
}

// The hot experts change after the first period. Placed by it, later periods are slow; re-balanced, the second period
// is as slow, then the third and the fourth have what the one before them knew.
TEST_CASE("after a change the re-balanced are late by one period, and move once") {
  const PlacementComparison result = over_time({8, 40, 40, 40});
  REQUIRE(result.rebalancing.size() == 2);
  for (const RebalancingRow& row : result.rebalancing) {
    INFO(row.strategy);
    const auto& periods = row.periods;
    CHECK(periods[0].rebalanced == periods[0].once);
    CHECK(periods[0].moved.copies == 0);
    CHECK(periods[1].moved.copies > 0);
    CHECK(periods[1].moved.bytes == Approx(static_cast<double>(periods[1].moved.copies) * 3.0 * 2048 * 1024 * 2));
    CHECK(periods[1].moved.time.base() > 0.0);
    CHECK(periods[2].moved.copies == 0);
    for (std::size_t i = 1; i < 3; ++i) {
      CHECK(periods[i].rebalanced < periods[i].once);
      CHECK(periods[i].rebalanced == Approx(periods[i].hindsight).epsilon(1e-12));
    }
  }
  // vLLM's keeps slots, not ranks: it moves as many.
  CHECK(result.rebalancing[0].moved().copies == result.rebalancing[1].moved().copies);
}

TEST_CASE("re-balancing wants a recording over time") {
  const auto config = comparison(kSmall, {R"(/strategies=["contiguous"])", R"(/rebalance={})"});
  CHECK_THROWS_WITH(compare_placements(config, {"place.json", {}}, TaskPool(1)),
                    Catch::Contains("place.json#/rebalance/periods: expected routing that was recorded over time"));
}
