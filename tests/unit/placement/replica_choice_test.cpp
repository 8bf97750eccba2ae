#include "sim/placement/replica_choice.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <numeric>

#include "sim/core/random.hpp"

using namespace moesim;

namespace {

using Taken = std::vector<std::uint32_t>;

/// Expert 0 on ranks 0, 2 and 3; 1 on 1; 2 on 1 and 2; 3 on 3 and 0. Nodes of two ranks.
LayerPlacement four_ranks() { return {4, {{0, 3}, {1, 2}, {0, 2}, {0, 3}}}; }

std::vector<std::int64_t> rank_rows(const LayerPlacement& placement, const std::vector<std::vector<std::int64_t>>& x) {
  std::vector<std::int64_t> rows(placement.ranks(), 0);
  for (std::size_t e = 0; e < x.size(); ++e) {
    for (std::size_t c = 0; c < x[e].size(); ++c) {
      rows[placement.replicas_of(e)[c].rank.index()] += x[e][c];
    }
  }
  return rows;
}

/// LP duality for min-max assignment: max over sets S of ranks of ⌈rows of experts with copies in S only / |S|⌉.
std::int64_t least_busiest(const LayerPlacement& placement, const std::vector<std::int64_t>& rows) {
  std::int64_t least = 0;
  for (std::size_t set = 1; set < std::size_t{1} << placement.ranks(); ++set) {
    std::int64_t confined = 0;
    for (std::size_t e = 0; e < rows.size(); ++e) {
      bool inside = true;
      for (const auto& replica : placement.replicas_of(e)) {
        inside = inside && (set >> replica.rank.index() & 1) != 0;
      }
      confined += inside ? rows[e] : 0;
    }
    const auto size = static_cast<std::int64_t>(__builtin_popcountll(set));
    least = std::max(least, (confined + size - 1) / size);
  }
  return least;
}

}  // namespace

TEST_CASE("copies in turn, and the nearest") {
  const LayerPlacement placement = four_ranks();
  // One token on each rank, each of which chooses experts 0 and 2.
  const std::vector<std::uint16_t> choices{0, 2, 0, 2, 0, 2, 0, 2};
  const std::vector<std::size_t> first{0, 1, 2, 3, 4};
  const RoutedBatch batch{choices, 2, first, 2};
  CHECK(choose_replicas(placement, batch, ReplicaChoice::kInTurn, 1) == Taken{0, 0, 1, 1, 2, 0, 0, 1});
  // Rank 0 has expert 0, and expert 2 in its node on rank 1 (copy 0); rank 1 has 0 in its node on rank 0 and 2 itself;
  // rank 2 has both; rank 3 has 0 itself (copy 2) and 2 in its node on rank 2 (copy 1).
  CHECK(choose_replicas(placement, batch, ReplicaChoice::kNearest, 1) == Taken{0, 0, 0, 0, 1, 1, 2, 1});
}

TEST_CASE("the fewest experts awake: one copy of each for the whole batch") {
  const LayerPlacement placement = four_ranks();
  // Rows 3, 1, 1, 1 of experts 0 to 3. Expert 0 first: rank 0. Expert 1 has rank 1 only. Expert 2 goes to rank 2, where
  // none is awake; expert 3 to rank 3 (its second copy).
  const std::vector<std::uint16_t> choices{0, 1, 0, 2, 0, 3};
  const std::vector<std::size_t> first{0, 3, 3, 3, 3};
  CHECK(choose_replicas(placement, {choices, 2, first, 2}, ReplicaChoice::kFewest, 1) == Taken{0, 0, 0, 1, 0, 1});
}

TEST_CASE("random copies: all are used, equally often within four standard deviations, and the seed decides") {
  const LayerPlacement placement = four_ranks();
  const std::vector<std::uint16_t> choices(3000, 0);
  const std::vector<std::size_t> first{0, 3000, 3000, 3000, 3000};
  const RoutedBatch batch{choices, 1, first, 2};
  const Taken taken = choose_replicas(placement, batch, ReplicaChoice::kRandom, 7);
  for (const std::uint32_t copy : {0U, 1U, 2U}) {  // 1000 ± 4·√(3000·1/3·2/3) = 1000 ± 103
    CHECK(std::abs(std::count(taken.begin(), taken.end(), copy) - 1000) < 103);
  }
  CHECK(taken == choose_replicas(placement, batch, ReplicaChoice::kRandom, 7));
  CHECK(taken != choose_replicas(placement, batch, ReplicaChoice::kRandom, 8));
}

TEST_CASE("balanced copies reach the optimum of the linear program, and every row has its copy") {
  for (std::size_t test = 0; test < 200; ++test) {
    RandomStream random(2, "balanced", test);
    const std::size_t ranks = 2 + random.below(5);
    const std::size_t experts = 3 + random.below(8);
    std::vector<std::vector<std::uint16_t>> slots(ranks);
    for (std::size_t e = 0; e < experts; ++e) {
      slots[random.below(ranks)].push_back(static_cast<std::uint16_t>(e));
    }
    for (std::size_t copy = 0; copy < experts; ++copy) {
      slots[random.below(ranks)].push_back(static_cast<std::uint16_t>(random.below(experts)));
    }
    const LayerPlacement placement(experts, slots);
    std::vector<std::int64_t> rows(experts);
    std::vector<std::uint16_t> choices;
    for (std::size_t e = 0; e < experts; ++e) {
      rows[e] = static_cast<std::int64_t>(random.below(100));
      choices.insert(choices.end(), static_cast<std::size_t>(rows[e]), static_cast<std::uint16_t>(e));
    }
    INFO("case " << test);
    const auto split = balanced_rows(placement, rows);
    for (std::size_t e = 0; e < experts; ++e) {
      CHECK(std::accumulate(split[e].begin(), split[e].end(), std::int64_t{0}) == rows[e]);
      CHECK(*std::min_element(split[e].begin(), split[e].end()) >= 0);
    }
    const auto busy = rank_rows(placement, split);
    CHECK(*std::max_element(busy.begin(), busy.end()) == least_busiest(placement, rows));
    std::vector<std::size_t> first(ranks + 1, choices.size());
    first[0] = 0;
    const auto taken = choose_replicas(placement, {choices, 1, first, 2}, ReplicaChoice::kBalanced, 1);
    std::vector<std::vector<std::int64_t>> counted(experts);
    for (std::size_t e = 0; e < experts; ++e) {
      counted[e].assign(placement.replicas_of(e).size(), 0);
    }
    for (std::size_t i = 0; i < choices.size(); ++i) {
      ++counted[choices[i]][taken[i]];
    }
    CHECK(counted == split);
  }
}
