#include "sim/placement/bound.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
#include <vector>

#include "sim/core/random.hpp"
#include "sim/placement/local_search.hpp"
#include "sim/placement/placement.hpp"

using namespace moesim;

namespace {

/// The least greatest rank load of any placement, by trying all: slot by slot, ranks' slots in rising order.
double exhaustive(const std::vector<double>& loads, std::size_t slots, std::size_t ranks) {
  std::vector<std::uint16_t> chosen(slots, 0);
  double best = 1e300;
  const std::size_t per_rank = slots / ranks;
  const std::function<void(std::size_t)> fill = [&](std::size_t slot) {
    if (slot == slots) {
      std::vector<double> copies(loads.size(), 0.0);
      for (const std::uint16_t e : chosen) {
        copies[e] += 1.0;
      }
      if (std::count(copies.begin(), copies.end(), 0.0) > 0) {
        return;
      }
      double busiest = 0.0;
      for (std::size_t r = 0; r < ranks; ++r) {
        double load = 0.0;
        for (std::size_t s = r * per_rank; s < (r + 1) * per_rank; ++s) {
          load += loads[chosen[s]] / copies[chosen[s]];
        }
        busiest = std::max(busiest, load);
      }
      best = std::min(best, busiest);
      return;
    }
    const std::uint16_t from = slot % per_rank == 0 ? std::uint16_t{0} : chosen[slot - 1];
    for (std::uint16_t e = from; e < loads.size(); ++e) {
      chosen[slot] = e;
      fill(slot + 1);
    }
  };
  fill(0);
  return best;
}

}  // namespace

TEST_CASE("the bound on the greatest rank load, by hand") {
  // Two ranks, two slots each, no copies. Mean 5; the three heaviest are 6, 2, 1, of which some rank has two: the
  // lightest pair is 3; a rank with 6 has 6 + 1 at least, but the bound of single experts is 6.
  CHECK(max_load_bound(std::vector<double>{6, 2, 1, 1}, 4, 2) == Approx(6.0));
  // The same with two spare slots: 6 splits into 3 copies of 2, and the mean of 5 is what is left.
  CHECK(max_load_bound(std::vector<double>{6, 2, 1, 1}, 6, 2) == Approx(5.0));
  // Three ranks, two slots each, all alike: every rank has two. The four heaviest are 1 each, some rank has two of
  // them.
  CHECK(max_load_bound(std::vector<double>(6, 1.0), 6, 3) == Approx(2.0));
  // 5, 5, 5 on two ranks with an empty fourth: some rank has two of the three.
  CHECK(max_load_bound(std::vector<double>{5, 5, 5, 0}, 4, 2) == Approx(10.0));
}

// 2 to 4 experts with 0 to 2 copies on 2 or 3 ranks can be tried one by one.
TEST_CASE("no placement beats the bound, and the search finds the best where all can be tried") {
  std::size_t met = 0;
  for (std::size_t test = 0; test < 60; ++test) {
    RandomStream random(3, "bound.cases", test);
    const std::size_t ranks = 2;
    const std::size_t slots = 4 + 2 * random.below(2);
    const std::size_t experts = 2 + random.below(3);
    std::vector<double> loads(experts);
    for (double& load : loads) {
      load = 1.0 + static_cast<double>(random.below(20));
    }
    INFO("case " << test);
    const double best = exhaustive(loads, slots, ranks);
    const double bound = max_load_bound(loads, slots, ranks);
    CHECK(bound <= best * (1.0 + 1e-12));
    std::vector<std::uint16_t> start(slots);
    for (std::size_t s = 0; s < slots; ++s) {
      start[s] = static_cast<std::uint16_t>(s % experts);
    }
    LocalSearch search(loads, ranks, start);
    RandomStream kicks(1, "kicks", test);
    search.improve(60, bound, kicks);
    CHECK(search.busiest_load() >= best * (1.0 - 1e-9));
    met += search.busiest_load() <= best * (1.0 + 1e-9) ? 1 : 0;
  }
  // A local search may miss now and then; nine in ten is far above what the start alone reaches.
  CHECK(met >= 54);
}

TEST_CASE("the search's running loads are those of its slots") {
  RandomStream random(5, "search.loads");
  std::vector<double> loads(64);
  for (double& load : loads) {
    load = random.exponential();
  }
  std::vector<std::uint16_t> slots(80);
  for (std::size_t s = 0; s < slots.size(); ++s) {
    slots[s] = static_cast<std::uint16_t>(s % loads.size());
  }
  const auto busiest = [&](const std::vector<std::uint16_t>& of) {
    const auto ranks = rank_loads(layer_of_slots(loads.size(), 8, of), loads);
    return *std::max_element(ranks.begin(), ranks.end());
  };
  const double before = busiest(slots);
  LocalSearch search(loads, 8, slots);
  CHECK(search.busiest_load() == Approx(before).epsilon(1e-12));
  search.improve(20, 0.0, random);
  CHECK(search.busiest_load() == Approx(busiest(search.slots())).epsilon(1e-9));
  CHECK(search.busiest_load() < before);
}
