#include "sim/placement/placement.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <set>

#include "sim/core/error.hpp"
#include "sim/core/random.hpp"

using namespace moesim;

namespace {

Placement place(const std::string& strategy, std::size_t experts, std::size_t ranks, std::uint64_t seed = 1) {
  return place_experts({strategy}, {.layers = 3, .experts = experts, .ranks = ranks, .seed = seed},
                       {"scenario.json", "/placement"});
}

std::vector<std::uint16_t> slots(const Placement& placement, std::size_t layer, std::size_t rank) {
  const auto span = placement.layers[layer].slots_of(RankId(rank));
  return {span.begin(), span.end()};
}

}  // namespace

TEST_CASE("contiguous: neighbours together") {
  const Placement placement = place("contiguous", 8, 4);
  CHECK(slots(placement, 0, 0) == std::vector<std::uint16_t>{0, 1});
  CHECK(slots(placement, 2, 3) == std::vector<std::uint16_t>{6, 7});
}

TEST_CASE("round-robin: neighbours apart") {
  const Placement placement = place("round-robin", 8, 4);
  CHECK(slots(placement, 0, 0) == std::vector<std::uint16_t>{0, 4});
  CHECK(slots(placement, 0, 3) == std::vector<std::uint16_t>{3, 7});
}

TEST_CASE("every strategy gives every expert one slot and every rank equally many") {
  for (const StrategyEntry& entry : placement_strategies()) {
    const Placement placement = place(std::string(entry.name), 60, 12);
    REQUIRE(placement.layers.size() == 3);
    for (const LayerPlacement& layer : placement.layers) {
      std::set<std::uint16_t> seen;
      for (std::size_t rank = 0; rank < 12; ++rank) {
        CHECK(layer.slots_of(RankId(rank)).size() == 5);
        seen.insert(layer.slots_of(RankId(rank)).begin(), layer.slots_of(RankId(rank)).end());
      }
      CHECK(seen.size() == 60);
      for (std::size_t expert = 0; expert < 60; ++expert) {
        const auto replicas = layer.replicas_of(expert);
        REQUIRE(replicas.size() == 1);
        CHECK(layer.slots_of(replicas[0].rank)[replicas[0].local_slot] == expert);
      }
    }
  }
}

TEST_CASE("every strategy fills the redundant slots, whatever the loads") {
  std::vector<double> loads(2 * 60);
  RandomStream random(4, "loads");
  for (double& load : loads) {
    load = random.exponential();
  }
  loads[7] = 0.0;
  for (const StrategyEntry& entry : placement_strategies()) {
    INFO(entry.name);
    PlacementProblem problem{.layers = 2, .experts = 60, .ranks = 12, .redundant = 12, .ranks_per_node = 4};
    problem.groups = 6;
    problem.loads = loads;
    const Placement one = entry.make()->place(problem);
    const TaskPool pool(2);
    problem.pool = &pool;
    const Placement two = entry.make()->place(problem);
    REQUIRE(one.layers.size() == 2);
    for (std::size_t layer = 0; layer < 2; ++layer) {
      for (std::size_t rank = 0; rank < 12; ++rank) {
        CHECK(slots(one, layer, rank).size() == 6);
        CHECK(slots(one, layer, rank) == slots(two, layer, rank));
      }
    }
  }
}

TEST_CASE("strategies by load leave less on the busiest rank than the default does") {
  std::vector<double> loads(64);
  RandomStream random(9, "loads");
  for (double& load : loads) {
    load = std::exp(random.normal());
  }
  PlacementProblem problem{.layers = 1, .experts = 64, .ranks = 8, .redundant = 8};
  problem.loads = loads;
  const auto imbalance = [&](const char* strategy) {
    return load_imbalance(rank_loads(find_strategy(strategy, {}).make()->place(problem).layers[0], loads));
  };
  const double contiguous = imbalance("contiguous");
  for (const char* strategy : {"greedy", "eplb-global", "eplb-vllm", "tensorrt-llm", "search"}) {
    INFO(strategy);
    CHECK(imbalance(strategy) < contiguous);
    CHECK(imbalance(strategy) >= 1.0);
  }
  CHECK(imbalance("search") <= imbalance("eplb-global"));
  CHECK(imbalance("eplb-vllm") ==
        Approx(imbalance("eplb-global")).epsilon(1e-12));  // slots within a rank do not matter
}

TEST_CASE("random differs between layers and seeds, not between calls") {
  const Placement a = place("random", 64, 8, 1);
  CHECK(slots(a, 0, 0) == slots(place("random", 64, 8, 1), 0, 0));
  CHECK(slots(a, 0, 0) != slots(a, 1, 0));
  CHECK(slots(a, 0, 0) != slots(place("random", 64, 8, 2), 0, 0));
}

TEST_CASE("loads: a replicated expert is split evenly") {
  // Expert 0 on both ranks, expert 1 on rank 1: loads 10/2 and 10/2 + 4.
  const LayerPlacement layer(2, {{0}, {0, 1}});
  const std::vector<double> expert_loads{10.0, 4.0};
  const auto loads = rank_loads(layer, expert_loads);
  CHECK(loads == std::vector<double>{5.0, 9.0});
  CHECK(load_imbalance(loads) == Approx(9.0 / 7.0));
  CHECK(load_imbalance(std::vector<double>{0.0, 0.0}) == 1.0);
}

TEST_CASE("what cannot be placed is an error that says why") {
  CHECK_THROWS_WITH(place("contiguous", 8, 3),
                    "scenario.json#/placement: expected a number of ranks that divides the 8 experts of a layer, found "
                    "3 ranks; the strategy "
                    "contiguous gives every rank equally many; 1 redundant experts would fit");
  CHECK_THROWS_WITH(place("contigous", 8, 4),
                    "scenario.json#/placement/strategy: expected a placement strategy, found \"contigous\"; did you "
                    "mean \"contiguous\"?");
  CHECK_THROWS_WITH(place_experts({.strategy = "eplb-global", .redundant_experts = 3},
                                  {.layers = 1, .experts = 8, .ranks = 4, .redundant = 3}, {"s.json", "/placement"}),
                    "s.json#/placement/redundant_experts: expected a number of slots that the 4 ranks divide, found 11 "
                    "slots (8 experts and 3 redundant); 4 redundant experts would fit");
  CHECK_THROWS_AS(LayerPlacement(3, {{0}, {1}}), InternalError);
}
