#include "sim/execute/kernel_time.hpp"

#include <algorithm>

#include "sim/core/error.hpp"
#include "sim/fluid/ticks.hpp"

namespace moesim {

SimTime time_of_kernel(double seconds, const KernelRates& rates) {
  const double ticks = seconds * (fluid::kTicksPerSecond / std::min({1.0, rates.compute, rates.memory}));
  constexpr double kLongest = 1LL << 60;
  if (!(ticks < kLongest)) {
    throw ModelError("a kernel would take more than 2^60 ps (13 days)");
  }
  return SimTime::from_ticks(fluid::ticks_rounded_up(ticks, fluid::kTickNoise + fluid::kTagNoise * ticks));
}

}  // namespace moesim
