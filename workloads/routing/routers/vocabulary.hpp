#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace moesim {

/// The words of the token model: how frequent each is, what it means, and in which order each topic prefers them.
class Vocabulary {
 public:
  struct Shape {
    std::size_t words = 0;
    std::size_t width = 0;
    double zipf = 1.0;
    std::size_t topics = 1;
    double topic_share = 0.0;
  };
  /// Word r of an order has probability ∝ (r + 1)^−s (Zipf). A word is drawn from its topic's own order (a random
  /// permutation) with probability topic_share, else from the common one, in which word id stands at place id.
  Vocabulary(const Shape& shape, std::uint64_t seed);

  [[nodiscard]] std::size_t size() const { return shape_.words; }
  [[nodiscard]] std::size_t width() const { return shape_.width; }
  /// Over all text, topics being equally frequent: (1 − share)·z(id) + share·mean over topics of z(place of id there).
  [[nodiscard]] double frequency(std::size_t id) const { return frequency_[id]; }
  /// [width], independent standard normal.
  [[nodiscard]] std::span<const float> embedding(std::size_t id) const {
    return std::span(embeddings_).subspan(id * shape_.width, shape_.width);
  }
  /// From two uniform numbers: one decides which order, the other the place in it.
  [[nodiscard]] std::uint32_t word_at(std::size_t topic, double order, double place) const;

 private:
  [[nodiscard]] std::size_t place_at(double u) const;

  Shape shape_;
  std::vector<double> upper_;         ///< [words], running sums of the Zipf law
  std::vector<std::uint32_t> guide_;  ///< first place that a uniform number of each cell can fall to
  std::vector<std::uint32_t> order_;  ///< [topics, words]
  std::vector<double> frequency_;
  std::vector<float> embeddings_;
};

}  // namespace moesim
