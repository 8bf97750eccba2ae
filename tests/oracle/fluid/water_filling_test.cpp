// The solver against water filling by the definition, on several hundred random scenarios.
#include "tests/oracle/fluid/water_filling.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "tests/oracle/fluid/scenario.hpp"
#include "tests/oracle/fluid/simgrid/network_case.hpp"

namespace moesim::oracle {
namespace {

constexpr std::uint64_t kScenarios = 600;

/// Largest relative difference between the rates of the two, over all instants at which something happens.
double worst_rate_difference(const Scenario& scenario) {
  FluidSystem system;
  for (const double capacity : scenario.capacities) {
    system.add_resource(capacity);
  }
  double worst = 0.0;
  std::vector<char> done(scenario.arrivals.size(), 0);
  std::size_t started = 0;
  std::vector<ActivityId> completed;
  while (started < scenario.arrivals.size() || system.live_count() > 0) {
    const auto next = system.next_completion();
    SimTime now = next.value_or(SimTime::never());
    if (started < scenario.arrivals.size()) {
      now = std::min(now, scenario.arrivals[started].start);
    }
    completed.clear();
    system.advance(now, completed);
    for (const ActivityId id : completed) {
      done[id.index()] = 1;
    }
    for (; started < scenario.arrivals.size() && scenario.arrivals[started].start == now; ++started) {
      REQUIRE(system.start(now, scenario.arrivals[started].spec()).index() == started);
    }
    std::vector<std::size_t> live;
    std::vector<const Arrival*> specs;
    for (std::size_t a = 0; a < started; ++a) {
      if (done[a] == 0) {
        live.push_back(a);
        specs.push_back(&scenario.arrivals[a]);
      }
    }
    const std::vector<long double> expected = water_fill(scenario.capacities, specs);
    for (std::size_t i = 0; i < live.size(); ++i) {
      const auto rate = static_cast<long double>(system.rate(ActivityId(live[i])));
      worst = std::max(worst, static_cast<double>(std::abs(rate / expected[i] - 1.0L)));
    }
  }
  return worst;
}

TEST_CASE("Rates are those of water filling", "[fluid]") {
  double worst = 0.0;
  for (std::uint64_t number = 0; number < kScenarios; ++number) {
    const double difference = worst_rate_difference(random_scenario(number));
    CAPTURE(number);
    CHECK(difference < 1e-12);
    worst = std::max(worst, difference);
  }
  INFO("worst " << worst);
  CHECK(worst < 1e-12);
}

TEST_CASE("Rates in leaf switches with trunks are those of water filling", "[fluid]") {
  // Flows with two inner links in common, in ties of equal ports: they change owners as bundles.
  constexpr std::uint64_t kNetworks = 100;
  for (std::uint64_t i = 0; i < kNetworks; ++i) {
    const std::uint64_t number = 6 * i + 5;  // leaves, without latencies
    const NetworkCase network = random_network(number);
    Scenario scenario{.capacities = network.capacities, .arrivals = {}};
    for (const NetworkFlow& flow : network.flows) {
      Arrival& arrival = scenario.arrivals.emplace_back();
      arrival.start = flow.start;
      arrival.amount = static_cast<double>(flow.bytes);
      arrival.rate_cap = flow.rate_cap;
      for (const std::uint32_t link : flow.route) {
        arrival.uses.push_back({ResourceId(link), 1.0});
      }
    }
    CAPTURE(number);
    CHECK(worst_rate_difference(scenario) < 1e-12);
  }
}

TEST_CASE("Completions are those of water filling, tick by tick", "[fluid]") {
  // 10^12 ticks a second: 10^−12 relative is a tick or so for each second, and the doubles of the solver may land on
  // the other side of a whole tick, which shifts what follows by a tick times the ratio of the rates (at most 16·4).
  for (std::uint64_t number = 0; number < kScenarios; ++number) {
    const Scenario scenario = random_scenario(number);
    const std::vector<std::int64_t> expected = completion_ticks(scenario);
    FluidSystem system;
    for (const double capacity : scenario.capacities) {
      system.add_resource(capacity);
    }
    std::vector<ActivityId> completed;
    std::vector<std::int64_t> finish(expected.size(), -1);
    const auto take = [&](SimTime until) {
      while (const auto next = system.next_completion()) {
        if (*next > until) {
          break;
        }
        completed.clear();
        system.advance(*next, completed);
        REQUIRE(!completed.empty());
        for (const ActivityId id : completed) {
          finish[id.index()] = next->ticks();
        }
      }
    };
    for (const Arrival& arrival : scenario.arrivals) {
      take(arrival.start);
      system.start(arrival.start, arrival.spec());
    }
    take(SimTime::never());
    for (std::size_t a = 0; a < expected.size(); ++a) {
      CAPTURE(number, a);
      const double slack = 2.0 + 1e-12 * static_cast<double>(expected[a]);
      CHECK(std::abs(static_cast<double>(finish[a] - expected[a])) <= slack);
    }
  }
}

}  // namespace
}  // namespace moesim::oracle
