#include "workloads/routing/routers/gate.hpp"

#include <algorithm>
#include <cmath>

namespace moesim {

void softmax(std::span<const float> scores, std::span<float> out) {
  const float largest = *std::max_element(scores.begin(), scores.end());
  float sum = 0.0F;
  for (std::size_t e = 0; e < scores.size(); ++e) {
    out[e] = std::exp(scores[e] - largest);
    sum += out[e];
  }
  for (float& value : out) {
    value /= sum;
  }
}

double log_sum_exp(std::span<const float> scores) {
  const double largest = *std::max_element(scores.begin(), scores.end());
  double sum = 0.0;
  for (const float score : scores) {
    sum += std::exp(score - largest);
  }
  return largest + std::log(sum);
}

std::size_t best_expert(std::span<const float> scores) {
  return static_cast<std::size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

std::vector<float> add_noise(std::span<float> scores, double deviation, RandomStream& random) {
  std::vector<float> noise(scores.size());
  for (std::size_t i = 0; i < scores.size(); ++i) {
    noise[i] = static_cast<float>(deviation * random.normal());
    scores[i] += noise[i];
  }
  return noise;
}

void normalise(std::span<float> weights) {
  float sum = 0.0F;
  for (const float weight : weights) {
    sum += weight;
  }
  for (float& weight : weights) {
    weight = sum > 0.0F ? weight / sum : weight;
  }
}

}  // namespace moesim
