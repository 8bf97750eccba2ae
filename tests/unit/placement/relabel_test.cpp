#include "sim/placement/relabel.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "sim/core/random.hpp"
#include "sim/placement/placement.hpp"
#include "sim/placement/strategies.hpp"

using namespace moesim;

namespace {

double gain_of(std::span<const double> gains, const std::vector<std::size_t>& columns) {
  double sum = 0.0;
  for (std::size_t row = 0; row < columns.size(); ++row) {
    sum += gains[row * columns.size() + columns[row]];
  }
  return sum;
}

/// Every expert once, the rest at random, in random order.
std::vector<std::uint16_t> random_slots(RandomStream& random, std::size_t experts, std::size_t slots) {
  std::vector<std::uint16_t> result(slots);
  for (std::size_t s = 0; s < slots; ++s) {
    result[s] = static_cast<std::uint16_t>(s < experts ? s : random.below(experts));
  }
  random.shuffle(std::span(result));
  return result;
}

/// The experts of each rank of a node, in order: what renaming must keep together.
std::vector<std::vector<std::vector<std::uint16_t>>> contents(std::span<const std::uint16_t> slots, std::size_t ranks,
                                                              std::size_t node_ranks) {
  const std::size_t per_rank = slots.size() / ranks;
  std::vector<std::vector<std::vector<std::uint16_t>>> nodes((ranks + node_ranks - 1) / node_ranks);
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    const auto row = slots.subspan(rank * per_rank, per_rank);
    nodes[rank / node_ranks].emplace_back(row.begin(), row.end());
  }
  for (auto& node : nodes) {
    std::sort(node.begin(), node.end());
  }
  std::sort(nodes.begin(), nodes.end());
  return nodes;
}

}  // namespace

TEST_CASE("the best assignment gains as much as the best of all permutations") {
  RandomStream random(5, "test.assignment");
  for (int i = 0; i < 300; ++i) {
    const std::size_t n = 1 + random.below(6);
    std::vector<double> gains(n * n);
    for (double& gain : gains) {
      gain = random.below(2) == 0 ? static_cast<double>(random.below(4)) : random.normal();  // with ties
    }
    std::vector<std::size_t> columns(n);
    std::iota(columns.begin(), columns.end(), std::size_t{0});
    double best = gain_of(gains, columns);
    while (std::next_permutation(columns.begin(), columns.end())) {
      best = std::max(best, gain_of(gains, columns));
    }
    std::vector<std::size_t> found = best_assignment(gains, n);
    CHECK(gain_of(gains, found) == Approx(best).margin(1e-12));
    std::sort(found.begin(), found.end());
    CHECK(found == columns);  // next_permutation has come back to the first
  }
  CHECK(best_assignment({}, 0).empty());
}

TEST_CASE("ranks and nodes under other names are found again: nothing moves") {
  // Nodes of 4, the last of 2: 10 ranks, 3 slots each. The placement has every node but the last elsewhere, and every
  // rank of a node.
  RandomStream random(6, "test.relabel");
  const std::vector<std::uint16_t> before = random_slots(random, 24, 30);
  const std::vector<std::size_t> from = {6, 5, 4, 7, 1, 0, 3, 2, 9, 8};
  std::vector<std::uint16_t> after;
  for (const std::size_t rank : from) {
    after.insert(after.end(), before.begin() + static_cast<std::ptrdiff_t>(3 * rank),
                 before.begin() + static_cast<std::ptrdiff_t>(3 * rank + 3));
  }
  CHECK(moved_copies(after, before, 10) > 0);
  CHECK(moved_copies(relabelled(after, before, 10, 4), before, 10) == 0);
}

TEST_CASE("renaming keeps what lies together, and never moves more") {
  RandomStream random(7, "test.relabel.random");
  for (int i = 0; i < 100; ++i) {
    const std::size_t node_ranks = 1 + random.below(4);
    const std::size_t ranks = 1 + random.below(12);
    const std::size_t slots = ranks * (1 + random.below(4));
    const std::size_t experts = 1 + random.below(slots);
    const auto before = random_slots(random, experts, slots);
    const auto after = random_slots(random, experts, slots);
    const auto renamed = relabelled(after, before, ranks, node_ranks);
    CHECK(contents(renamed, ranks, node_ranks) == contents(after, ranks, node_ranks));
    // A rank that holds an expert twice, where it was once, has no copy to move: kept experts, not copies, are what is
    // made most of. So the bound is on ranks without an expert twice.
    const auto distinct = [&](const std::vector<std::uint16_t>& placed) {
      const std::size_t per_rank = slots / ranks;
      for (std::size_t rank = 0; rank < ranks; ++rank) {
        std::vector<std::uint16_t> row(placed.begin() + static_cast<std::ptrdiff_t>(rank * per_rank),
                                       placed.begin() + static_cast<std::ptrdiff_t>((rank + 1) * per_rank));
        std::sort(row.begin(), row.end());
        if (std::adjacent_find(row.begin(), row.end()) != row.end()) {
          return false;
        }
      }
      return true;
    };
    if (distinct(after)) {
      CHECK(moved_copies(renamed, before, ranks) <= moved_copies(after, before, ranks));
    }
  }
}

TEST_CASE("the search leaves experts where they lie when loads have hardly changed") {
  // 64 experts on 8 ranks of 9 slots. Loads that change by a thousandth: what was within that of the bound still is.
  RandomStream random(8, "test.search.before");
  std::vector<double> loads(64);
  for (double& load : loads) {
    load = 1000.0 * std::exp(random.normal());
  }
  PlacementProblem problem{.layers = 1, .experts = 64, .ranks = 8, .seed = 3, .redundant = 8, .ranks_per_node = 4};
  problem.loads = loads;
  struct MaxLoad final : LayerClock {
    explicit MaxLoad(const std::vector<double>& weighed) : loads(weighed) {}
    [[nodiscard]] double time(std::size_t /*layer*/, const LayerPlacement& placement) const override {
      const auto ranks = rank_loads(placement, loads);
      return *std::max_element(ranks.begin(), ranks.end());
    }
    const std::vector<double>& loads;
  };
  const MaxLoad clock(loads);
  problem.clock = &clock;
  const Placement first = make_search()->place(problem);
  for (double& load : loads) {
    load *= 1.0 + 1e-3 * random.uniform();
  }
  problem.before = &first;
  const Placement same = make_search()->place(problem);
  // The other way round, half of the experts change their load with the other half: many have to move.
  std::rotate(loads.begin(), loads.begin() + 32, loads.end());
  const Placement other = make_search()->place(problem);
  problem.before = nullptr;
  const Placement anew = make_search()->place(problem);
  const auto moved = [&](const Placement& placement) {
    std::size_t count = 0;
    for (std::size_t rank = 0; rank < 8; ++rank) {
      const auto now = placement.layers[0].slots_of(RankId(rank));
      const auto then = first.layers[0].slots_of(RankId(rank));
      for (const std::uint16_t expert : now) {
        count += std::find(then.begin(), then.end(), expert) == then.end() ? 1 : 0;
      }
    }
    return count;
  };
  CHECK(moved(same) == 0);
  CHECK(moved(other) > 0);
  CHECK(moved(other) < moved(anew));
  CHECK(clock.time(0, other.layers[0]) <= 1.005 * clock.time(0, anew.layers[0]) * (1.0 + 1e-3));
}
