#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "sim/core/random.hpp"
#include "workloads/routing/cumulative_table.hpp"
#include "workloads/routing/group_design.hpp"
#include "workloads/routing/types.hpp"

namespace moesim {

/// Uniform numbers of 32 bits, two from each word of a stream: fine enough to pick an expert, at half the price.
class HalfWords {
 public:
  explicit HalfWords(RandomStream& random) : random_(&random) {}
  double uniform() {
    left_ = !left_;
    word_ = left_ ? random_->bits() : word_ >> 32;
    return static_cast<double>(static_cast<std::uint32_t>(word_)) * 0x1.0p-32;
  }

 private:
  RandomStream* random_;
  std::uint64_t word_ = 0;
  bool left_ = false;
};

/// Draws k distinct experts for a token so that expert e is among them with a given probability π_e, and all from at
/// most `per_token` groups where the model limits that.
class ExpertSampler {
 public:
  /// `inclusion` [experts], each in [0, 1], Σ = k (scaled to it). `order` places the experts on [0, 1) for expert_at.
  ExpertSampler(std::span<const double> inclusion, std::size_t k, GroupLimit limit,
                std::span<const ExpertIndex> order = {});

  void draw(HalfWords& random, std::span<ExpertIndex> out) const;

  /// The groups that a token may use, as bits, from one uniform number; all ones where there is no limit.
  [[nodiscard]] std::uint64_t groups_at(double u) const { return limited_ ? design_.draw(u) : ~std::uint64_t{0}; }
  /// One draw in proportion to the weights, without regard to groups or to what was drawn before.
  [[nodiscard]] ExpertIndex expert_at(double u) const { return table_.at(u); }
  /// Whether `expert` may join the `count` experts at the front of `out`.
  [[nodiscard]] bool fits(ExpertIndex expert, std::uint64_t groups, std::span<const ExpertIndex> chosen) const {
    if (limited_ && (groups >> (expert / group_size_) & 1) == 0) {
      return false;
    }
    for (const ExpertIndex other : chosen) {
      if (other == expert) {
        return false;
      }
    }
    return true;
  }
  /// An expert that fits, drawn in proportion to the weights of those that do.
  [[nodiscard]] ExpertIndex draw_fitting(HalfWords& random, std::uint64_t groups,
                                         std::span<const ExpertIndex> chosen) const;

  /// Worst relative deviation of the true inclusion probabilities from those asked for.
  [[nodiscard]] double worst_deviation() const { return worst_deviation_; }

 private:
  std::size_t k_;
  bool limited_ = false;
  std::size_t group_size_ = 1;
  GroupDesign design_;
  std::vector<double> weights_;
  CumulativeTable table_;
  double worst_deviation_ = 0.0;
};

/// Scales non-negative loads to inclusion probabilities π_e = min(1, c·load_e) with Σ = k. Throws nothing: loads that
/// would pass 1 are held there and the rest share what is left.
std::vector<double> inclusion_from_loads(std::span<const double> loads, std::size_t k);

}  // namespace moesim
