#include "validate/kernels/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace moesim::bench {
namespace {

double sorted_median(const std::vector<double>& sorted) {
  const std::size_t n = sorted.size();
  return n == 0 ? 0.0 : n % 2 == 1 ? sorted[n / 2] : 0.5 * (sorted[n / 2 - 1] + sorted[n / 2]);
}

}  // namespace

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return sorted_median(values);
}

Summary summary_of(const std::vector<double>& samples) {
  Summary out;
  if (samples.empty()) {
    return out;
  }
  std::vector<double> sorted = samples;
  std::sort(sorted.begin(), sorted.end());
  out.median = sorted_median(sorted);
  out.least = sorted.front();
  if (!(out.median > 0.0)) {
    return out;
  }
  const std::size_t cut = sorted.size() / 6;
  out.spread = 0.5 * (sorted[sorted.size() - 1 - cut] - sorted[cut]) / out.median;
  std::vector<double> distances;
  distances.reserve(samples.size());
  for (const double sample : samples) {
    distances.push_back(std::abs(sample - out.median));
  }
  constexpr double kToSigma = 1.4826;
  const double sigma = kToSigma * median(std::move(distances));
  out.deviation =
      std::sqrt(std::numbers::pi / 2.0) * sigma / std::sqrt(static_cast<double>(samples.size())) / out.median;
  return out;
}

Stop stop(const StopRule& rule, const std::vector<double>& samples, double elapsed) {
  if (samples.size() >= rule.least && summary_of(samples).deviation <= rule.deviation) {
    return Stop::kSettled;
  }
  // One sample is always taken, however long it was.
  if (!samples.empty() && (elapsed >= rule.seconds || samples.size() >= rule.most)) {
    return Stop::kTimeLimit;
  }
  return Stop::kGoOn;
}

}  // namespace moesim::bench
