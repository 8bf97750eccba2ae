#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/kernels/surface.hpp"
#include "validate/fit/boosting.hpp"

namespace moesim {

/// The surface s over the family's axes, with knots from the smallest to the largest value of each feature and `beyond`
/// more (where the penalty leads it straight on), that has the least
///   Σ_rows w·(target − s)² + Σ_axes stiffness·Σ (s_{j−1} − 2·s_j + s_{j+1})² + doubt·Σ_knots (s_j − median)²,
/// second differences along each axis, w = min(1, clip / |target − s|) by iteration (Huber 1964); Eilers and Marx 1996,
/// section 3, in several dimensions (Eilers, Currie and Durbán 2006, "Fast and compact smoothing on large
/// multidimensional grids"). Empty for a family without axes.
Surface fit_surface(FitFamily family, const Samples& samples, std::span<const std::uint32_t> rows);

}  // namespace moesim
