#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "models/kernels/fit_query.hpp"

/// What the trees leave of measured shapes: implementations change between shapes in ways that no feature tells, and
/// along a shape's sizes they do so smoothly.
namespace moesim {

/// Of one shape, a function of the logarithm of its size: straight between knots at whole powers of two, constant
/// beyond the first and the last.
struct Curve {
  std::int64_t first = 0;      ///< log2 of the size at the first knot
  std::vector<double> values;  ///< at the knots
};

/// The curve at a size, given as log2.
double value_at(const Curve& curve, double size);

/// Curves by shape. As text, each curve is a hash of the shape (six digits of base 64), the first knot and the number
/// of knots (one each), the middle between its extremes (three, as a leaf of TreeSum), the step (one: d stands for
/// (d + 1)/2000), and a digit for each knot: the value is middle + (digit − 32)·step.
class CurveTerms {
 public:
  static constexpr std::int64_t kLastKnot = 63;
  static constexpr std::size_t kMostKnots = 63;

  /// std::nullopt for a kernel whose shape says too little to be found again.
  static std::optional<std::uint64_t> key_of(const FitQuery& query);
  /// log2 of the size that curves run along.
  static double size_of(const FitQuery& query);

  /// Rounds the values to those that text() can hold. 1 to kMostKnots knots from 0 to kLastKnot; each key once.
  void add(std::uint64_t key, Curve curve);
  [[nodiscard]] double at(const FitQuery& query) const;  ///< 0 where the shape was not measured
  [[nodiscard]] const std::string& text() const { return text_; }
  static bool parse(std::string_view text, CurveTerms& out);

 private:
  std::unordered_map<std::uint64_t, Curve> curves_;
  std::string text_;
};

}  // namespace moesim
