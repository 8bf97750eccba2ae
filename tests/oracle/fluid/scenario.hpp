#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "sim/core/time.hpp"
#include "sim/fluid/fluid_system.hpp"

namespace moesim::oracle {

/// An activity and when it starts.
struct Arrival {
  SimTime start;
  double amount = 0.0;
  std::vector<Use> uses;
  double fairness = 1.0;
  double rate_cap = 0.0;

  [[nodiscard]] ActivitySpec spec() const {
    return {.amount = amount, .uses = uses, .fairness = fairness, .rate_cap = rate_cap};
  }
};

/// Resources and activities, by number.
struct Scenario {
  std::vector<double> capacities;
  std::vector<Arrival> arrivals;  ///< in order of start
};

/// A random one: 1 to 12 resources, 1 to 40 activities of 1 to 4 uses, several starting together; every other
/// scenario with whole-numbered weights and capacities, which makes ties, every third with trunks as wide as ports.
Scenario random_scenario(std::uint64_t number);

}  // namespace moesim::oracle
