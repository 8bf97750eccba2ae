#include "workloads/routing/correlation.hpp"

#include <algorithm>
#include <cmath>

namespace moesim {

namespace {

std::vector<double> expert_counts(const StepRouting& routing, std::size_t layer) {
  std::vector<double> counts(routing.shape.experts, 0.0);
  for (const ExpertIndex expert : routing.layer(layer)) {
    counts[expert] += 1.0;
  }
  return counts;
}

std::size_t in_common(std::span<const ExpertIndex> a, std::span<const ExpertIndex> b) {
  std::size_t common = 0;
  for (const ExpertIndex expert : a) {
    common += std::find(b.begin(), b.end(), expert) != b.end() ? 1 : 0;
  }
  return common;
}

double overlap_at(const StepRouting& routing, std::size_t layer, std::size_t lag,
                  std::span<const std::size_t> sequence_of, double independent) {
  double sum = 0.0;
  double pairs = 0.0;
  for (std::size_t token = 0; token + lag < routing.shape.tokens; ++token) {
    if (sequence_of[token] == sequence_of[token + lag]) {
      sum += static_cast<double>(in_common(routing.token(layer, token), routing.token(layer, token + lag)));
      pairs += 1.0;
    }
  }
  const auto k = static_cast<double>(routing.shape.k);
  return pairs > 0.0 && independent < k ? (sum / pairs - independent) / (k - independent) : 0.0;
}

double association_of(const StepRouting& routing, std::size_t first, std::size_t second) {
  const RoutingShape& shape = routing.shape;
  std::vector<double> joint(shape.experts * shape.experts, 0.0);
  for (std::size_t token = 0; token < shape.tokens; ++token) {
    for (const ExpertIndex e : routing.token(first, token)) {
      for (const ExpertIndex f : routing.token(second, token)) {
        joint[e * shape.experts + f] += 1.0;
      }
    }
  }
  const std::vector<double> one = expert_counts(routing, first);
  const std::vector<double> other = expert_counts(routing, second);
  const auto tokens = static_cast<double>(shape.tokens);
  double chi_squared = 0.0;
  double used_one = 0.0;
  double used_other = 0.0;
  for (std::size_t e = 0; e < shape.experts; ++e) {
    used_one += one[e] > 0.0 ? 1.0 : 0.0;
    used_other += other[e] > 0.0 ? 1.0 : 0.0;
    for (std::size_t f = 0; f < shape.experts; ++f) {
      const double expected = one[e] * other[f] / tokens;
      if (expected > 0.0) {
        const double excess = joint[e * shape.experts + f] - expected;
        chi_squared += excess * excess / expected;
      }
    }
  }
  const double chance = (used_one - 1.0) * (used_other - 1.0);
  return (chi_squared - chance) / (tokens * static_cast<double>(shape.k * shape.k));
}

}  // namespace

CorrelationStatistics correlation_statistics(const StepRouting& routing, std::span<const std::size_t> starts) {
  const RoutingShape& shape = routing.shape;
  constexpr std::size_t kMostLayers = 8;  // per figure, spread over the depth: enough for a mean
  std::vector<std::size_t> sequence_of(shape.tokens, 0);
  for (std::size_t token = 0, sequence = 0; token < shape.tokens; ++token) {
    while (sequence < starts.size() && starts[sequence] <= token) {
      ++sequence;
    }
    sequence_of[token] = sequence;
  }

  CorrelationStatistics result;
  constexpr std::size_t kLongestLag = 32;
  for (std::size_t lag = 1; lag <= kLongestLag && lag < shape.tokens; lag *= 2) {
    const std::size_t count = std::min(kMostLayers, shape.layers);
    double sum = 0.0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t layer = i * shape.layers / count;
      double independent = 0.0;
      for (const double n : expert_counts(routing, layer)) {
        const double p = n / static_cast<double>(shape.tokens);
        independent += p * p;
      }
      sum += overlap_at(routing, layer, lag, sequence_of, independent);
    }
    result.overlap.push_back({lag, sum / static_cast<double>(count)});
  }
  constexpr std::size_t kFarthest = 16;
  for (std::size_t distance = 1; distance <= kFarthest && distance < shape.layers; distance *= 2) {
    const std::size_t pairs = shape.layers - distance;
    const std::size_t count = std::min(kMostLayers, pairs);
    double sum = 0.0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t layer = i * pairs / count;
      sum += association_of(routing, layer, layer + distance);
    }
    result.association.push_back({distance, sum / static_cast<double>(count)});
  }
  return result;
}

}  // namespace moesim
