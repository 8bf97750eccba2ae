#include "models/kernels/contention.hpp"

#include <algorithm>

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

double speed_beside(const HeldShare& held, Bound bound, double memory, const ContentionTerms& contention) {
  const double units = std::max(1.0 - held.units, kLeastShare) / needed_units(bound, contention);
  const double bandwidth = memory > 0.0 ? std::max(1.0 - held.memory, kLeastShare) / memory : 1.0;
  return std::min({1.0, units, bandwidth});
}

}  // namespace moesim
