#pragma once

#include <span>
#include <vector>

#include "models/kernels/curves.hpp"

namespace moesim {

/// One measured size of a shape: log2 of the size, and what is to be explained there.
struct CurvePoint {
  double size = 0.0;
  double value = 0.0;
};

struct CurveOptions {
  double stiffness = 0.3;  ///< how much a bend weighs, in rows
  double doubt = 0.05;     ///< how much a value weighs, in rows: curves keep near zero where rows are few
  double clip = 0.06;      ///< a row pulls by at most so much (Huber's loss)
};

/// Some tables have single measurements that are off by multiples, some stray by a fifth from run to run, and in some
/// whole ranges of sizes take ten times as long as their neighbours. Of three sets of options the one is taken that
/// predicts best, row by row, what it has not seen of this shape.
Curve fit_curve(std::span<const CurvePoint> points);

/// The curve c over knots at whole powers of two from the smallest size to the largest that has the least
///   Σ_rows w·(value − c(size))² + stiffness·Σ_knots (c_{j−1} − 2·c_j + c_{j+1})² + doubt·Σ_knots c_j²,
/// w = min(1, clip / |value − c(size)|) by iteration (Huber 1964); splines with a penalty on differences: Eilers and
/// Marx 1996, "Flexible smoothing with B-splines and penalties", section 3. `points` is not empty; sizes lie between 0
/// and CurveTerms::kLastKnot.
Curve fit_curve(std::span<const CurvePoint> points, const CurveOptions& options);

}  // namespace moesim
