#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/kernels/fit_query.hpp"

/// What utilisation looks like where it changes smoothly along a few features, as that of one kernel does over
/// sequences, heads and lengths: trees, which are flat between their thresholds, need far more rows to say the same.
namespace moesim {

/// A function of up to four features: linear between knots along each of them, constant beyond the outermost.
class Surface {
 public:
  static constexpr std::size_t kMostAxes = 4;
  static constexpr std::size_t kMostKnots = 63;  ///< along one axis

  struct Axis {
    std::size_t feature = 0;
    double step = 1.0;       ///< between knots, in the feature's unit
    std::int64_t first = 0;  ///< the first knot, in steps; 0 to kMostKnots
    std::size_t knots = 1;
  };
  /// The knots around a place, and their shares, which sum to 1.
  struct Corners {
    std::array<std::size_t, std::size_t{1} << kMostAxes> knot{};
    std::array<double, std::size_t{1} << kMostAxes> share{};
    std::size_t count = 0;
  };

  Surface() = default;
  /// Values are [knots of axis 0, of axis 1, …]; rounded to those that text() can hold.
  Surface(std::vector<Axis> axes, std::vector<double> values);

  static Corners corners(std::span<const Axis> axes, std::span<const double> features);
  [[nodiscard]] double at(std::span<const double> features) const;  ///< 0 of an empty surface

  /// First knot and number of knots of each axis, a digit of base 64 each, then the values, three digits each as leaves
  /// of TreeSum. Which features and what steps: surface_axes() of the family.
  [[nodiscard]] std::string text() const;
  static bool parse(std::string_view text, FitFamily family, Surface& out);

 private:
  std::vector<Axis> axes_;
  std::vector<double> values_;
};

}  // namespace moesim
