#include "models/kernels/curves.hpp"

#include <algorithm>
#include <cmath>

#include "models/kernels/trees.hpp"
#include "sim/core/error.hpp"

namespace moesim {
namespace {

constexpr std::size_t kKeyDigits = 6;
constexpr std::size_t kHeadDigits = kKeyDigits + 6;  // first knot, knots, middle, step
constexpr double kStepUnit = 1.0 / 2000.0;
constexpr std::int64_t kZeroDigit = 32;
constexpr std::int64_t kLastDigit = 63;

/// The numbers that stand for a curve in text().
struct Rounded {
  std::uint64_t middle = 0;
  std::uint64_t step = 0;
  std::vector<std::uint64_t> digits;
};

Rounded rounded(const std::vector<double>& values) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  Rounded out;
  out.middle = TreeSum::leaf_number(TreeSum::rounded_leaf(0.5 * (*low + *high)));
  const double middle = TreeSum::leaf_value(out.middle);
  const double reach = std::max(*high - middle, middle - *low);
  out.step = static_cast<std::uint64_t>(std::clamp<std::int64_t>(
      static_cast<std::int64_t>(std::ceil(reach / (static_cast<double>(kLastDigit - kZeroDigit) * kStepUnit))) - 1, 0,
      kLastDigit));
  for (const double value : values) {
    const double steps = (value - middle) / (static_cast<double>(out.step + 1) * kStepUnit);
    out.digits.push_back(
        static_cast<std::uint64_t>(std::clamp<std::int64_t>(std::llround(steps) + kZeroDigit, 0, kLastDigit)));
  }
  return out;
}

double value_of(const Rounded& rounded, std::uint64_t digit) {
  return TreeSum::leaf_value(rounded.middle) + static_cast<double>(static_cast<std::int64_t>(digit) - kZeroDigit) *
                                                   static_cast<double>(rounded.step + 1) * kStepUnit;
}

}  // namespace

double value_at(const Curve& curve, double size) {
  const double last = static_cast<double>(curve.values.size() - 1);
  const double x = std::clamp(size - static_cast<double>(curve.first), 0.0, last);
  const auto left = static_cast<std::size_t>(x);
  const double share = x - static_cast<double>(left);
  return share > 0.0 ? (1.0 - share) * curve.values[left] + share * curve.values[left + 1] : curve.values[left];
}

std::optional<std::uint64_t> CurveTerms::key_of(const FitQuery& query) {
  if (!query.shape_known) {
    return std::nullopt;
  }
  std::uint64_t hash = 14695981039346656037ull;  // FNV-1a, a feature in steps of 1/1000 at a time
  const auto values = query.features.values();
  for (const std::size_t feature : shape_key_features(query.family)) {
    hash = (hash ^ static_cast<std::uint64_t>(std::llround(values[feature] * 1000.0))) * 1099511628211ull;
    hash ^= hash >> 29;
  }
  return hash & ((std::uint64_t{1} << 36) - 1);  // six digits of base 64
}

double CurveTerms::size_of(const FitQuery& query) { return query.features.values()[size_feature(query.family)]; }

void CurveTerms::add(std::uint64_t key, Curve curve) {
  ensure(!curve.values.empty() && curve.values.size() <= kMostKnots && curve.first >= 0 && curve.first <= kLastKnot,
         "a curve has no knots, or more than its text can hold");
  const Rounded numbers = rounded(curve.values);
  text_ += TreeSum::digits(key, kKeyDigits);
  text_ += TreeSum::digits(static_cast<std::uint64_t>(curve.first), 1);
  text_ += TreeSum::digits(curve.values.size(), 1);
  text_ += TreeSum::digits(numbers.middle, 3);
  text_ += TreeSum::digits(numbers.step, 1);
  for (std::size_t i = 0; i < curve.values.size(); ++i) {
    text_ += TreeSum::digits(numbers.digits[i], 1);
    curve.values[i] = value_of(numbers, numbers.digits[i]);
  }
  ensure(curves_.emplace(key, std::move(curve)).second, "a shape has two curves");
}

double CurveTerms::at(const FitQuery& query) const {
  if (curves_.empty()) {
    return 0.0;
  }
  const auto key = key_of(query);
  const auto found = key ? curves_.find(*key) : curves_.end();
  return found == curves_.end() ? 0.0 : value_at(found->second, size_of(query));
}

bool CurveTerms::parse(std::string_view text, CurveTerms& out) {
  out.text_ = text;
  while (!text.empty()) {
    if (text.size() < kHeadDigits) {
      return false;
    }
    const auto key = TreeSum::number(text.substr(0, kKeyDigits));
    const auto first = TreeSum::number(text.substr(kKeyDigits, 1));
    const auto knots = TreeSum::number(text.substr(kKeyDigits + 1, 1));
    const auto middle = TreeSum::number(text.substr(kKeyDigits + 2, 3));
    const auto step = TreeSum::number(text.substr(kKeyDigits + 5, 1));
    if (!key || !first || !knots || !middle || !step || *knots == 0 || text.size() < kHeadDigits + *knots) {
      return false;
    }
    const Rounded numbers{.middle = *middle, .step = *step, .digits = {}};
    Curve curve{.first = static_cast<std::int64_t>(*first), .values = {}};
    for (std::size_t i = 0; i < *knots; ++i) {
      const auto digit = TreeSum::number(text.substr(kHeadDigits + i, 1));
      if (!digit) {
        return false;
      }
      curve.values.push_back(value_of(numbers, *digit));
    }
    if (!out.curves_.emplace(*key, std::move(curve)).second) {
      return false;
    }
    text.remove_prefix(kHeadDigits + *knots);
  }
  return true;
}

}  // namespace moesim
