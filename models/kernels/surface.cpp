#include "models/kernels/surface.hpp"

#include <algorithm>

#include "models/kernels/trees.hpp"
#include "sim/core/error.hpp"

namespace moesim {
namespace {

constexpr std::size_t kValueDigits = 3;

}  // namespace

Surface::Surface(std::vector<Axis> axes, std::vector<double> values)
    : axes_(std::move(axes)), values_(std::move(values)) {
  ensure(!axes_.empty() && axes_.size() <= kMostAxes, "a surface has no axes, or more than it can have");
  std::size_t knots = 1;
  for (const Axis& axis : axes_) {
    ensure(axis.knots > 0 && axis.knots <= kMostKnots && axis.first >= 0 &&
               axis.first <= static_cast<std::int64_t>(kMostKnots) && axis.step > 0.0,
           "an axis of a surface has knots that its text cannot hold");
    knots *= axis.knots;
  }
  ensure(values_.size() == knots, "a surface needs a value for each of its knots");
  for (double& value : values_) {
    value = TreeSum::rounded_leaf(value);
  }
}

Surface::Corners Surface::corners(std::span<const Axis> axes, std::span<const double> features) {
  Corners out;
  out.count = 1;
  out.share[0] = 1.0;
  for (const Axis& axis : axes) {
    const double last = static_cast<double>(axis.knots - 1);
    const double x = std::clamp(features[axis.feature] / axis.step - static_cast<double>(axis.first), 0.0, last);
    const std::size_t left = std::min(static_cast<std::size_t>(x), axis.knots - 1);
    const double share = x - static_cast<double>(left);
    const std::size_t before = out.count;
    for (std::size_t i = 0; i < before; ++i) {
      out.knot[i] = out.knot[i] * axis.knots + left;
      if (share > 0.0) {
        out.knot[out.count] = out.knot[i] + 1;
        out.share[out.count++] = out.share[i] * share;
        out.share[i] *= 1.0 - share;
      }
    }
  }
  return out;
}

double Surface::at(std::span<const double> features) const {
  if (values_.empty()) {
    return 0.0;
  }
  const Corners around = corners(axes_, features);
  double sum = 0.0;
  for (std::size_t i = 0; i < around.count; ++i) {
    sum += around.share[i] * values_[around.knot[i]];
  }
  return sum;
}

std::string Surface::text() const {
  std::string out;
  for (const Axis& axis : axes_) {
    out += TreeSum::digits(static_cast<std::uint64_t>(axis.first), 1);
    out += TreeSum::digits(axis.knots, 1);
  }
  for (const double value : values_) {
    out += TreeSum::digits(TreeSum::leaf_number(value), kValueDigits);
  }
  return out;
}

bool Surface::parse(std::string_view text, FitFamily family, Surface& out) {
  out = {};
  if (text.empty()) {
    return true;
  }
  const auto next = [&](std::size_t digits) {
    const auto number = text.size() < digits ? std::nullopt : TreeSum::number(text.substr(0, digits));
    text.remove_prefix(std::min(digits, text.size()));
    return number;
  };
  std::vector<Axis> axes;
  std::size_t knots = 1;
  for (const SurfaceAxis& axis : surface_axes(family)) {
    const auto first = next(1);
    const auto count = next(1);
    if (!first || !count || *count == 0) {
      return false;
    }
    axes.push_back({axis.feature, axis.step, static_cast<std::int64_t>(*first), *count});
    knots *= *count;
  }
  if (axes.empty() || text.size() != knots * kValueDigits) {
    return false;
  }
  std::vector<double> values;
  values.reserve(knots);
  while (values.size() < knots) {
    const auto value = next(kValueDigits);
    if (!value) {
      return false;
    }
    values.push_back(TreeSum::leaf_value(*value));
  }
  out = Surface(std::move(axes), std::move(values));
  return true;
}

}  // namespace moesim
