#include "workloads/routing/same_path.hpp"

#include <cmath>

namespace moesim {

double same_path(const RoutingCorrelation& correlation, std::size_t distance) {
  const auto d = static_cast<double>(distance);
  const double r = correlation.repeat;
  const double s = 1.0 - 1.0 / correlation.topic_tokens;
  double passage = 0.0;  // Σ_{b < d} r^b·s^(d − b)
  for (std::size_t b = 0; b < distance; ++b) {
    passage = passage * r + std::pow(s, static_cast<double>(b + 1));
  }
  const double same_point = correlation.topic * correlation.topic / static_cast<double>(correlation.topic_points);
  return std::pow(r, d) + same_point * passage / (1.0 - r * s);
}

std::vector<double> shared_paths(const RoutingCorrelation& correlation) {
  std::vector<double> result(kLongestRun + 1, 0.0);
  double sum = 0.0;        // Σ_{d < n} same_path(d)
  double distances = 0.0;  // Σ_{d < n} d·same_path(d)
  for (std::size_t n = 2; n <= kLongestRun; ++n) {
    const auto d = static_cast<double>(n - 1);
    const double same = same_path(correlation, n - 1);
    sum += same;
    distances += d * same;
    result[n] = sum - distances / static_cast<double>(n);
  }
  return result;
}

}  // namespace moesim
