// What holds for every solution, whatever the numbers.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <numeric>
#include <span>
#include <vector>

#include "sim/core/random.hpp"
#include "sim/fluid/fluid_system.hpp"
#include "tests/oracle/fluid/scenario.hpp"

namespace moesim {
namespace {

using oracle::Arrival;
using oracle::random_scenario;
using oracle::Scenario;

constexpr std::uint64_t kScenarios = 200;
constexpr double kTolerance = 1e-12;

/// Runs a scenario; `look` is called after every start and completion with the ids of all started so far.
/// Returns the ticks at which they completed.
std::vector<std::int64_t> run(FluidSystem& system, const Scenario& scenario,
                              const std::function<void(std::size_t started)>& look = {}) {
  for (const double capacity : scenario.capacities) {
    system.add_resource(capacity);
  }
  std::vector<std::int64_t> finish(scenario.arrivals.size(), -1);
  std::vector<ActivityId> completed;
  std::size_t started = 0;
  while (started < scenario.arrivals.size() || system.live_count() > 0) {
    SimTime now = system.next_completion().value_or(SimTime::never());
    if (started < scenario.arrivals.size()) {
      now = std::min(now, scenario.arrivals[started].start);
    }
    completed.clear();
    system.advance(now, completed);
    for (const ActivityId id : completed) {
      finish[id.index()] = now.ticks();
    }
    for (; started < scenario.arrivals.size() && scenario.arrivals[started].start == now; ++started) {
      system.start(now, scenario.arrivals[started].spec());
    }
    if (look) {
      look(started);
    }
  }
  return finish;
}

/// Every start at the same instant.
Scenario at_once(Scenario scenario) {
  for (Arrival& arrival : scenario.arrivals) {
    arrival.start = SimTime();
  }
  return scenario;
}

std::vector<double> first_rates(const Scenario& scenario) {
  FluidSystem system;
  for (const double capacity : scenario.capacities) {
    system.add_resource(capacity);
  }
  for (const Arrival& arrival : scenario.arrivals) {
    system.start(SimTime(), arrival.spec());
  }
  std::vector<double> rates;
  for (std::size_t a = 0; a < scenario.arrivals.size(); ++a) {
    rates.push_back(system.rate(ActivityId(a)));
  }
  return rates;
}

TEST_CASE("No capacity and no cap is exceeded, and nobody could get more without someone poorer losing", "[fluid]") {
  for (std::uint64_t number = 0; number < kScenarios; ++number) {
    CAPTURE(number);
    const Scenario scenario = random_scenario(number);
    FluidSystem system;
    run(system, scenario, [&](std::size_t started) {
      std::vector<double> load(scenario.capacities.size(), 0.0);
      std::vector<double> greatest(scenario.capacities.size(), 0.0);  // x/φ
      for (std::size_t a = 0; a < started; ++a) {
        const double rate = system.rate(ActivityId(a));
        for (const Use& use : scenario.arrivals[a].uses) {
          load[use.resource.index()] += use.weight * rate;
          greatest[use.resource.index()] =
              std::max(greatest[use.resource.index()], rate / scenario.arrivals[a].fairness);
        }
      }
      for (std::size_t r = 0; r < load.size(); ++r) {
        CHECK(load[r] <= scenario.capacities[r] * (1.0 + kTolerance));
      }
      for (std::size_t a = 0; a < started; ++a) {
        const double rate = system.rate(ActivityId(a));
        if (rate == 0.0) {
          continue;  // completed
        }
        const Arrival& arrival = scenario.arrivals[a];
        CHECK(rate <= arrival.rate_cap * (1.0 + kTolerance));
        bool bottleneck = rate >= arrival.rate_cap * (1.0 - kTolerance);
        for (const Use& use : arrival.uses) {
          const std::size_t r = use.resource.index();
          bottleneck = bottleneck || (load[r] >= scenario.capacities[r] * (1.0 - kTolerance) &&
                                      rate / arrival.fairness >= greatest[r] * (1.0 - kTolerance));
        }
        CHECK(bottleneck);
      }
    });
  }
}

TEST_CASE("What a resource has carried is what its users have done", "[fluid]") {
  for (std::uint64_t number = 0; number < kScenarios; ++number) {
    CAPTURE(number);
    const Scenario scenario = random_scenario(number);
    FluidSystem system;
    std::vector<double> all(scenario.capacities.size(), 0.0);
    run(system, scenario, [&](std::size_t started) {
      std::vector<double> done(scenario.capacities.size(), 0.0);
      for (std::size_t a = 0; a < started; ++a) {
        const Arrival& arrival = scenario.arrivals[a];
        for (const Use& use : arrival.uses) {
          done[use.resource.index()] += use.weight * (arrival.amount - system.remaining(ActivityId(a)));
        }
      }
      for (std::size_t r = 0; r < done.size(); ++r) {
        CHECK(system.carried(ResourceId(r)) == Approx(done[r]).epsilon(kTolerance).margin(1e-12));
        // No more than full all the time it was in use.
        CHECK(system.carried(ResourceId(r)) <=
              scenario.capacities[r] * system.busy_seconds(ResourceId(r)) * (1.0 + 1e-9) + 1e-9);
      }
    });
    for (const Arrival& arrival : scenario.arrivals) {
      for (const Use& use : arrival.uses) {
        all[use.resource.index()] += use.weight * arrival.amount;
      }
    }
    for (std::size_t r = 0; r < all.size(); ++r) {
      CHECK(system.carried(ResourceId(r)) == Approx(all[r]).epsilon(1e-15).margin(0.0));
    }
  }
}

TEST_CASE("Neither the names of resources nor the order of starts within an instant matter", "[fluid]") {
  for (std::uint64_t number = 0; number < kScenarios; ++number) {
    CAPTURE(number);
    const Scenario scenario = at_once(random_scenario(number));
    RandomStream random(11, "renaming", number);
    std::vector<std::size_t> resource_name(scenario.capacities.size());
    std::vector<std::size_t> order(scenario.arrivals.size());
    std::iota(resource_name.begin(), resource_name.end(), std::size_t{0});
    std::iota(order.begin(), order.end(), std::size_t{0});
    random.shuffle(std::span(resource_name));
    random.shuffle(std::span(order));

    Scenario renamed = scenario;
    for (std::size_t r = 0; r < resource_name.size(); ++r) {
      renamed.capacities[resource_name[r]] = scenario.capacities[r];
    }
    for (std::size_t a = 0; a < order.size(); ++a) {
      renamed.arrivals[a] = scenario.arrivals[order[a]];
      for (Use& use : renamed.arrivals[a].uses) {
        use.resource = ResourceId(resource_name[use.resource.index()]);
      }
      random.shuffle(std::span(renamed.arrivals[a].uses));
    }
    const std::vector<double> rates = first_rates(scenario);
    const std::vector<double> renamed_rates = first_rates(renamed);
    for (std::size_t a = 0; a < order.size(); ++a) {
      CHECK(renamed_rates[a] == Approx(rates[order[a]]).epsilon(kTolerance).margin(0.0));
    }
  }
}

TEST_CASE("Twice the capacities and twice the amounts take the same time", "[fluid]") {
  // Powers of two scale doubles exactly, so the ticks are the very same.
  for (std::uint64_t number = 0; number < kScenarios; ++number) {
    CAPTURE(number);
    const Scenario scenario = random_scenario(number);
    Scenario scaled = scenario;
    for (double& capacity : scaled.capacities) {
      capacity *= 1024.0;
    }
    for (Arrival& arrival : scaled.arrivals) {
      arrival.amount *= 1024.0;
      arrival.rate_cap *= 1024.0;
    }
    FluidSystem system;
    FluidSystem scaled_system;
    CHECK(run(system, scenario) == run(scaled_system, scaled));
  }
}

TEST_CASE("Fairness counts only relative to others", "[fluid]") {
  for (std::uint64_t number = 0; number < kScenarios; ++number) {
    CAPTURE(number);
    const Scenario scenario = random_scenario(number);
    Scenario scaled = scenario;
    for (Arrival& arrival : scaled.arrivals) {
      arrival.fairness *= 8.0;
    }
    FluidSystem system;
    FluidSystem scaled_system;
    CHECK(run(system, scenario) == run(scaled_system, scaled));
  }
}

TEST_CASE("Stopping to look changes nothing", "[fluid]") {
  // One run from event to event, another that also stops between; rates are re-based only where they change.
  for (std::uint64_t number = 0; number < kScenarios; ++number) {
    CAPTURE(number);
    const Scenario scenario = random_scenario(number);
    FluidSystem system;
    const std::vector<std::int64_t> finish = run(system, scenario);
    FluidSystem stopped;
    std::vector<ActivityId> completed;
    const std::vector<std::int64_t> same = run(stopped, scenario, [&](std::size_t) {
      if (const auto next = stopped.next_completion()) {
        const std::int64_t between = (stopped.time().ticks() + next->ticks()) / 2;
        bool overtakes = false;
        for (const Arrival& arrival : scenario.arrivals) {
          overtakes = overtakes || (arrival.start > stopped.time() && arrival.start.ticks() <= between);
        }
        if (!overtakes && between < next->ticks()) {
          stopped.advance(SimTime::from_ticks(between), completed);
        }
      }
    });
    CHECK(completed.empty());
    CHECK(finish == same);
  }
}

}  // namespace
}  // namespace moesim
