#include "validate/fit/curve_fit.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "sim/core/error.hpp"

namespace moesim {
namespace {

constexpr int kIterations = 6;

/// A symmetric system of equations with two diagonals above the main one.
class Banded {
 public:
  explicit Banded(std::size_t size) : rows_(size) {}

  void add(std::size_t i, std::size_t j, double value) {
    const auto [low, high] = std::minmax(i, j);
    if (high < rows_.size()) {
      rows_[low][high - low] += value;
    }
  }

  /// By LDLᵀ; the system is positive definite.
  std::vector<double> solve(std::vector<double> right) && {
    const std::size_t n = rows_.size();
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t d = 1; d < kBand && i + d < n; ++d) {
        const double factor = rows_[i][d] / rows_[i][0];
        for (std::size_t e = d; e < kBand; ++e) {
          rows_[i + d][e - d] -= factor * rows_[i][e];
        }
        right[i + d] -= factor * right[i];
      }
    }
    for (std::size_t i = n; i-- > 0;) {
      for (std::size_t d = 1; d < kBand && i + d < n; ++d) {
        right[i] -= rows_[i][d] * right[i + d];
      }
      right[i] /= rows_[i][0];
    }
    return right;
  }

 private:
  static constexpr std::size_t kBand = 3;
  std::vector<std::array<double, kBand>> rows_;
};

struct Between {
  std::size_t left = 0;
  double share = 0.0;  ///< of the knot to the right
};

Between between(double size, double first) {
  const double x = size - first;
  const auto left = static_cast<std::size_t>(x);
  return {left, x - static_cast<double>(left)};
}

double at(const std::vector<double>& values, const Between& place) {
  return place.share > 0.0 ? (1.0 - place.share) * values[place.left] + place.share * values[place.left + 1]
                           : values[place.left];
}

}  // namespace

Curve fit_curve(std::span<const CurvePoint> points, const CurveOptions& options) {
  ensure(!points.empty(), "a curve needs points");
  const auto [least, most] =
      std::minmax_element(points.begin(), points.end(), [](const auto& a, const auto& b) { return a.size < b.size; });
  const double first = std::floor(least->size);
  const auto knots = static_cast<std::size_t>(std::ceil(most->size) - first) + 1;
  std::vector<double> values(knots, 0.0);
  // Begin at the median, so that a single measurement far off does not draw the first iteration.
  std::vector<double> sorted;
  for (const CurvePoint& point : points) {
    sorted.push_back(point.value);
  }
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2), sorted.end());
  values.assign(knots, sorted[sorted.size() / 2]);
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    Banded system(knots);
    std::vector<double> right(knots, 0.0);
    for (const CurvePoint& point : points) {
      const Between place = between(point.size, first);
      const double off = std::abs(point.value - at(values, place));
      const double weight = off > options.clip ? options.clip / off : 1.0;
      system.add(place.left, place.left, weight * (1.0 - place.share) * (1.0 - place.share));
      right[place.left] += weight * (1.0 - place.share) * point.value;
      if (place.share > 0.0) {
        system.add(place.left, place.left + 1, weight * (1.0 - place.share) * place.share);
        system.add(place.left + 1, place.left + 1, weight * place.share * place.share);
        right[place.left + 1] += weight * place.share * point.value;
      }
    }
    for (std::size_t j = 0; j < knots; ++j) {
      system.add(j, j, options.doubt);
    }
    for (std::size_t j = 1; j + 1 < knots; ++j) {
      constexpr std::array<double, 3> kBend = {1.0, -2.0, 1.0};
      for (std::size_t a = 0; a < 3; ++a) {
        for (std::size_t b = a; b < 3; ++b) {
          system.add(j - 1 + a, j - 1 + b, options.stiffness * kBend[a] * kBend[b]);
        }
      }
    }
    values = std::move(system).solve(std::move(right));
  }
  return {.first = static_cast<std::int64_t>(first), .values = std::move(values)};
}

Curve fit_curve(std::span<const CurvePoint> points) {
  constexpr std::array kChoices = {
      CurveOptions{},                                               // robust: single rows are off
      CurveOptions{.stiffness = 0.02, .doubt = 0.02, .clip = 5.0},  // trusting: ranges of sizes are
      CurveOptions{.stiffness = 3.0, .doubt = 0.5, .clip = 0.06}};  // stiff: rows stray
  constexpr std::size_t kFolds = 4;
  constexpr double kFar = 1.0;  // how far off a row is matters no more
  if (points.size() < 2 * kFolds) {
    return fit_curve(points, kChoices.front());
  }
  std::vector<CurvePoint> sorted(points.begin(), points.end());
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.size < b.size; });
  std::array<double, kChoices.size()> errors{};
  for (std::size_t fold = 0; fold < kFolds; ++fold) {
    std::vector<CurvePoint> known;
    std::vector<CurvePoint> held;
    for (std::size_t i = 0; i < sorted.size(); ++i) {
      (i % kFolds == fold ? held : known).push_back(sorted[i]);
    }
    for (std::size_t choice = 0; choice < kChoices.size(); ++choice) {
      const Curve curve = fit_curve(known, kChoices[choice]);
      for (const CurvePoint& point : held) {
        errors[choice] += std::min(std::abs(value_at(curve, point.size) - point.value), kFar);
      }
    }
  }
  const auto best = std::min_element(errors.begin(), errors.end()) - errors.begin();
  return fit_curve(points, kChoices[static_cast<std::size_t>(best)]);
}

}  // namespace moesim
