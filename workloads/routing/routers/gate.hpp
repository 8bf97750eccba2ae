#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "sim/core/random.hpp"
#include "workloads/routing/types.hpp"

/// Arithmetic that several routers share.
namespace moesim {

/// p_e = e^{s_e − max s} / Σ; `out` may be `scores`.
void softmax(std::span<const float> scores, std::span<float> out);
/// log Σ e^{s_e}.
double log_sum_exp(std::span<const float> scores);
/// The highest score; of equal ones the lowest number.
std::size_t best_expert(std::span<const float> scores);
/// Adds independent normal noise to all scores and returns it.
std::vector<float> add_noise(std::span<float> scores, double deviation, RandomStream& random);
/// Divides by the sum, unless that is 0.
void normalise(std::span<float> weights);

/// Rows left in the experts' buffers of one group.
class ExpertRoom {
 public:
  ExpertRoom(std::size_t experts, std::size_t rows) : used_(experts, 0), rows_(rows) {}
  /// Takes the expert's next row; false where all are taken.
  bool take(std::size_t expert) { return used_[expert]++ < rows_; }
  /// How many have asked for the expert.
  [[nodiscard]] std::size_t asked(std::size_t expert) const { return used_[expert]; }

 private:
  std::vector<std::size_t> used_;
  std::size_t rows_;
};

}  // namespace moesim
