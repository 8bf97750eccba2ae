#pragma once

#include "sim/core/time.hpp"

namespace moesim {

/// What a kernel finds on its GPU, as rates: 1 is what it runs at by itself.
struct KernelRates {
  double compute = 1.0;  ///< share of the compute units that communication leaves
  double memory = 1.0;   ///< HBM bandwidth over what it takes of it at rate 1
};

/// How long a kernel of so many seconds by itself runs while nothing changes. A rank runs one kernel at a time, and
/// what communication holds of its compute units and HBM is left out of the rates: what FluidSystem would have for an
/// activity with cap 1 that is alone on its resources, seconds / min(1, compute, memory), rounded as it rounds.
SimTime time_of_kernel(double seconds, const KernelRates& rates);

}  // namespace moesim
