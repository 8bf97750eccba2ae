#include "workloads/routing/routers/vocabulary.hpp"

#include <cmath>
#include <numeric>

#include "sim/core/random.hpp"

namespace moesim {

Vocabulary::Vocabulary(const Shape& shape, std::uint64_t seed) : shape_(shape) {
  std::vector<double> zipf(shape.words);
  double sum = 0.0;
  for (std::size_t r = 0; r < shape.words; ++r) {
    zipf[r] = std::pow(static_cast<double>(r + 1), -shape.zipf);
    sum += zipf[r];
  }
  double below = 0.0;
  for (double& probability : zipf) {
    probability /= sum;
    below += probability;
    upper_.push_back(below);
  }
  upper_.back() = 2.0;  // above every uniform number, whatever the rounding
  std::size_t place = 0;
  for (std::size_t cell = 0; cell < shape.words; ++cell) {
    while (upper_[place] <= static_cast<double>(cell) / static_cast<double>(shape.words)) {
      ++place;
    }
    guide_.push_back(static_cast<std::uint32_t>(place));
  }
  frequency_.resize(shape.words);
  for (std::size_t id = 0; id < shape.words; ++id) {
    frequency_[id] = (1.0 - shape.topic_share) * zipf[id];
  }
  order_.resize(shape.topics * shape.words);
  for (std::size_t topic = 0; topic < shape.topics; ++topic) {
    const auto order = std::span(order_).subspan(topic * shape.words, shape.words);
    std::iota(order.begin(), order.end(), std::uint32_t{0});
    RandomStream random(seed, "tokens.topic-order", topic);
    random.shuffle(order);
    for (std::size_t r = 0; r < shape.words; ++r) {
      frequency_[order[r]] += shape.topic_share * zipf[r] / static_cast<double>(shape.topics);
    }
  }
  RandomStream random(seed, "tokens.embedding");
  embeddings_.resize(shape.words * shape.width);
  for (float& value : embeddings_) {
    value = static_cast<float>(random.normal());
  }
}

std::size_t Vocabulary::place_at(double u) const {
  std::size_t place = guide_[static_cast<std::size_t>(u * static_cast<double>(shape_.words))];
  while (u >= upper_[place]) {
    ++place;
  }
  return place;
}

std::uint32_t Vocabulary::word_at(std::size_t topic, double order, double place) const {
  const std::size_t found = place_at(place);
  return order < shape_.topic_share ? order_[topic * shape_.words + found] : static_cast<std::uint32_t>(found);
}

}  // namespace moesim
