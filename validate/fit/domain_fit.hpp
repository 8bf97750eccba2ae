#pragma once

#include <cstddef>
#include <vector>

#include "models/kernels/communication.hpp"
#include "sim/core/quantity.hpp"

namespace moesim {

/// One measured size of a collective of some ranks in one scale-up domain.
struct DomainSample {
  double port_bytes = 0.0;  ///< out of, or into, the busiest rank
  Duration latency = {};    ///< of its steps' paths, the share that counts
  Duration time = {};
};

struct DomainFitOptions {
  std::size_t folds = 5;
  double path_share = 1.0;
  Bandwidth bandwidth = {};  ///< scale-up bandwidth of a rank, one direction
};

/// Fits DomainTerms by least |log(predicted / measured)|: iteratively reweighted least squares, each step
/// Gauss-Newton with Levenberg's damping, unknowns log overhead and log η at fixed points. A small penalty on η's
/// bends spreads what neither neighbour says, another keeps the overhead near the shortest time. Errors at sizes held
/// back: every k-th size is left out of a fit. Expects samples of at least two sizes.
DomainTerms fit_domain(const std::vector<DomainSample>& samples, int ranks, const DomainFitOptions& options);

}  // namespace moesim
