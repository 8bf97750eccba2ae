#include "validate/fit/surface_fit.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "sim/core/error.hpp"

namespace moesim {
namespace {

constexpr double kDoubt = 1e-3;  // in rows: knots that no row is near follow their neighbours
constexpr double kClip = 0.05;   // a row pulls by at most so much
constexpr int kRounds = 6;

/// A symmetric positive definite system of equations, non-zero up to `reach` places off the diagonal.
class BandedSystem {
 public:
  BandedSystem(std::size_t size, std::size_t reach)
      : size_(size), reach_(std::min(reach, size - 1)), rows_(size * (reach_ + 1), 0.0) {}

  void add(std::size_t i, std::size_t j, double value) {
    const auto [low, high] = std::minmax(i, j);
    at(low, high) += value;
  }

  /// By LDLᵀ.
  std::vector<double> solve(std::vector<double> right) && {
    for (std::size_t i = 0; i < size_; ++i) {
      const std::size_t last = std::min(i + reach_, size_ - 1);
      for (std::size_t j = i + 1; j <= last; ++j) {
        const double factor = at(i, j) / at(i, i);
        if (factor == 0.0) {
          continue;
        }
        const double* const from = &at(i, j);
        double* const to = &at(j, j);
        for (std::size_t k = 0; k <= last - j; ++k) {
          to[k] -= factor * from[k];
        }
        right[j] -= factor * right[i];
      }
    }
    for (std::size_t i = size_; i-- > 0;) {
      for (std::size_t j = i + 1; j <= std::min(i + reach_, size_ - 1); ++j) {
        right[i] -= at(i, j) * right[j];
      }
      right[i] /= at(i, i);
    }
    return right;
  }

 private:
  double& at(std::size_t row, std::size_t column) { return rows_[row * (reach_ + 1) + column - row]; }

  std::size_t size_;
  std::size_t reach_;
  std::vector<double> rows_;  // [size, reach + 1], from the diagonal to the right
};

std::vector<Surface::Axis> axes_of(FitFamily family, const Samples& samples, std::span<const std::uint32_t> rows) {
  std::vector<Surface::Axis> axes;
  for (const SurfaceAxis& known : surface_axes(family)) {
    const std::vector<double>& column = samples.columns[known.feature];
    double least = column[rows.front()];
    double most = least;
    for (const std::uint32_t row : rows) {
      least = std::min(least, column[row]);
      most = std::max(most, column[row]);
    }
    const auto first =
        std::max<std::int64_t>(static_cast<std::int64_t>(std::floor(least / known.step)) - known.beyond, 0);
    const auto last = static_cast<std::int64_t>(std::ceil(most / known.step)) + known.beyond;
    axes.push_back({known.feature, known.step, first, static_cast<std::size_t>(last - first) + 1});
  }
  return axes;
}

/// stiffness·(s_{j−1} − 2·s_j + s_{j+1})² for all neighbours along each axis.
void add_bends(BandedSystem& system, FitFamily family, std::span<const Surface::Axis> axes, std::size_t knots) {
  constexpr std::array<double, 3> kBend = {1.0, -2.0, 1.0};
  std::size_t stride = knots;
  for (std::size_t axis = 0; axis < axes.size(); ++axis) {
    stride /= axes[axis].knots;
    const double stiffness = surface_axes(family)[axis].stiffness;
    for (std::size_t knot = 0; knot < knots; ++knot) {
      if (knot / stride % axes[axis].knots + 2 >= axes[axis].knots) {
        continue;
      }
      for (std::size_t a = 0; a < 3; ++a) {
        for (std::size_t b = a; b < 3; ++b) {
          system.add(knot + a * stride, knot + b * stride, stiffness * kBend[a] * kBend[b]);
        }
      }
    }
  }
}

}  // namespace

Surface fit_surface(FitFamily family, const Samples& samples, std::span<const std::uint32_t> rows) {
  if (surface_axes(family).empty()) {
    return {};
  }
  ensure(!rows.empty(), "a surface needs rows");
  const std::vector<Surface::Axis> axes = axes_of(family, samples, rows);
  std::size_t knots = 1;
  for (const Surface::Axis& axis : axes) {
    knots *= axis.knots;
  }
  std::vector<double> targets;
  std::vector<Surface::Corners> corners;
  std::vector<double> features(samples.columns.size());
  for (const std::uint32_t row : rows) {
    for (const Surface::Axis& axis : axes) {
      features[axis.feature] = samples.columns[axis.feature][row];
    }
    corners.push_back(Surface::corners(axes, features));
    targets.push_back(samples.target[row]);
  }
  std::vector<double> sorted = targets;
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  const double median = *middle;
  std::vector<double> values(knots, 0.0);  // less the median
  for (int round = 0; round < kRounds; ++round) {
    BandedSystem system(knots, 2 * (knots / axes.front().knots));
    std::vector<double> right(knots, 0.0);
    for (std::size_t row = 0; row < targets.size(); ++row) {
      const Surface::Corners& around = corners[row];
      const double target = targets[row] - median;
      double off = target;
      for (std::size_t i = 0; i < around.count; ++i) {
        off -= around.share[i] * values[around.knot[i]];
      }
      const double weight = round > 0 && std::abs(off) > kClip ? kClip / std::abs(off) : 1.0;
      for (std::size_t i = 0; i < around.count; ++i) {
        right[around.knot[i]] += weight * around.share[i] * target;
        for (std::size_t j = i; j < around.count; ++j) {
          const double product = weight * around.share[i] * around.share[j];
          system.add(around.knot[i], around.knot[j], product);
        }
      }
    }
    for (std::size_t knot = 0; knot < knots; ++knot) {
      system.add(knot, knot, kDoubt);
    }
    add_bends(system, family, axes, knots);
    values = std::move(system).solve(std::move(right));
  }
  for (double& value : values) {
    value += median;
  }
  return {axes, std::move(values)};
}

}  // namespace moesim
