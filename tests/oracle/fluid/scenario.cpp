#include "tests/oracle/fluid/scenario.hpp"

#include <cmath>
#include <limits>
#include <span>

#include "sim/core/random.hpp"

namespace moesim::oracle {
namespace {

/// 2^−2 to 2^2, whole powers where `whole` says so.
double factor(RandomStream& random, std::uint64_t whole) {
  const double exponent = 4.0 * random.uniform() - 2.0;
  return std::exp2(whole != 0 ? std::round(exponent) : exponent);
}

}  // namespace

Scenario random_scenario(std::uint64_t number) {
  RandomStream random(7, "fluid scenario", number);
  const std::uint64_t whole = number % 2;
  Scenario scenario;
  const std::size_t resources = 1 + random.below(12);
  for (std::size_t r = 0; r < resources; ++r) {
    scenario.capacities.push_back(10.0 * factor(random, whole));
  }
  // Every third: the last resource carries what ports 0 and 1 carry, and is exactly as wide.
  const bool trunk = number % 3 == 0 && resources >= 3;
  if (trunk) {
    scenario.capacities.back() = scenario.capacities[0] + scenario.capacities[1];
  }

  const std::size_t activities = 1 + random.below(40);
  std::int64_t start = 0;
  for (std::size_t a = 0; a < activities; ++a) {
    if (random.below(3) == 0) {
      start += static_cast<std::int64_t>(random.below(2'000'000'000'000));
    }
    Arrival arrival;
    arrival.start = SimTime::from_ticks(start);
    arrival.amount = 20.0 * factor(random, whole);
    arrival.fairness = random.below(2) == 0 ? 1.0 : factor(random, whole);
    arrival.rate_cap = random.below(3) == 0 ? 4.0 * factor(random, whole) : std::numeric_limits<double>::infinity();
    const std::size_t uses = 1 + random.below(4);
    for (std::size_t u = 0; u < uses; ++u) {
      const std::size_t resource = random.below(trunk ? resources - 1 : resources);
      const double weight = random.below(2) == 0 ? 1.0 : factor(random, whole);
      bool named = false;
      for (const Use& use : arrival.uses) {
        named = named || use.resource.index() == resource;
      }
      if (named) {
        continue;
      }
      arrival.uses.push_back({ResourceId(resource), weight});
    }
    if (trunk && arrival.uses.front().resource.index() < 2) {
      arrival.uses.push_back({ResourceId(resources - 1), arrival.uses.front().weight});
    }
    scenario.arrivals.push_back(arrival);
  }
  return scenario;
}

}  // namespace moesim::oracle
