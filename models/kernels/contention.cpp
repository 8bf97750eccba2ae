#include "models/kernels/contention.hpp"

#include <algorithm>
#include <limits>

namespace moesim {

double needed_units(Bound bound, const ContentionTerms& contention) {
  switch (bound) {
    case Bound::kCompute:
      return contention.compute_bound;
    case Bound::kMemory:
      return contention.memory_bound;
    case Bound::kOverhead:
      break;
  }
  return contention.overhead_bound;
}

double SpeedBeside::least() const { return std::min({1.0, units, memory}); }

SpeedBeside speed_beside(const HeldShare& held, double needed_units, double memory_rate) {
  return {std::max(1.0 - held.units, kLeastShare) / needed_units,
          std::max(1.0 - held.memory, kLeastShare) * memory_rate};
}

double speed_beside(const HeldShare& held, Bound bound, double memory, const ContentionTerms& contention) {
  const double rate = memory > 0.0 ? 1.0 / memory : std::numeric_limits<double>::infinity();
  return speed_beside(held, needed_units(bound, contention), rate).least();
}

}  // namespace moesim
