#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tests/oracle/fluid/simgrid/network_case.hpp"

namespace moesim::oracle {

struct SimgridRun {
  std::vector<std::vector<double>> finish;  ///< [cases][flows], seconds
  double wall_seconds = 0.0;                ///< of the simulation alone, without the building of the platform
};

enum class SimgridPrecision : std::uint8_t {
  kTight,    ///< as tight as it converges with
  kDefault,  ///< 10^-5
};

/// Simulates the cases with SimGrid, all at once in networks that have nothing in common: a process can have one engine
/// only, so that each call has a process of its own. SimGrid's model is set to bare max-min sharing: CM02 with all
/// factors 1, no TCP window, no cross traffic, and every rate computed anew ("Full") at each step, since its default
/// ("Lazy") forgets some flows when a latency ends.
SimgridRun run_in_simgrid(std::span<const NetworkCase> cases, SimgridPrecision precision = SimgridPrecision::kTight);

}  // namespace moesim::oracle
