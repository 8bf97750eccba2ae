#include "workloads/routing/routers/gate.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "workloads/routing/routers/select.hpp"

namespace moesim {

void softmax(std::span<const float> scores, std::span<float> out) {
  constexpr std::size_t kLanes = 16;  // running results side by side, which the compiler turns into vectors
  const std::size_t whole = scores.size() / kLanes * kLanes;
  std::array<float, kLanes> lanes;
  lanes.fill(scores[0]);
  for (std::size_t first = 0; first < whole; first += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] = lanes[lane] < scores[first + lane] ? scores[first + lane] : lanes[lane];
    }
  }
  float largest = *std::max_element(lanes.begin(), lanes.end());
  for (std::size_t e = whole; e < scores.size(); ++e) {
    largest = std::max(largest, scores[e]);
  }
  exponentials(scores, largest, out);
  lanes.fill(0.0F);
  for (std::size_t first = 0; first < whole; first += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] += out[first + lane];
    }
  }
  float sum = 0.0F;
  for (const float lane : lanes) {
    sum += lane;
  }
  for (std::size_t e = whole; e < scores.size(); ++e) {
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
