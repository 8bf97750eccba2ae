#pragma once

#include <algorithm>
#include <array>
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
  /// `inclusion` [experts], each in [0, 1], Σ = k (scaled to it). `order` places the experts of a pool on [0, 1)
  /// for expert_at.
  ExpertSampler(std::span<const double> inclusion, std::size_t k, GroupLimit limit,
                std::span<const ExpertIndex> order = {});

  void draw(HalfWords& random, std::span<ExpertIndex> out) const;

  /// The experts that one token may use: all of them, or those of the groups drawn for it.
  struct Pool {
    std::size_t count = 0;                                  ///< drawn groups; 0 where there is no limit
    std::array<std::uint8_t, kMostGroupsPerToken> group{};  ///< their numbers
    std::array<double, kMostGroupsPerToken + 1> edge{};     ///< running sums of their weights, from 0
  };
  /// A token's pool from one uniform number.
  [[nodiscard]] Pool pool_at(double u) const;
  /// One expert of the pool in proportion to the weights, from one uniform number, without regard to what was drawn
  /// before.
  [[nodiscard]] ExpertIndex expert_at(const Pool& pool, double u) const {
    if (pool.count == 0) {
      return tables_.front().at(u);
    }
    const double x = u * pool.edge[pool.count];
    std::size_t i = 0;
    for (std::size_t group = 1; group < pool.count; ++group) {  // all of them: nothing for the processor to guess
      i += x >= pool.edge[group] ? 1 : 0;
    }
    const double within = std::min((x - pool.edge[i]) / (pool.edge[i + 1] - pool.edge[i]), 1.0 - 0x1p-53);
    return static_cast<ExpertIndex>(pool.group[i] * group_size_ + tables_[pool.group[i]].at(within));
  }
  /// An expert of the pool that is not among `chosen`, drawn in proportion to the weights of those that are not.
  [[nodiscard]] ExpertIndex draw_another(HalfWords& random, const Pool& pool,
                                         std::span<const ExpertIndex> chosen) const;
  static bool contains(std::span<const ExpertIndex> chosen, ExpertIndex expert) {
    for (const ExpertIndex other : chosen) {
      if (other == expert) {
        return true;
      }
    }
    return false;
  }

  /// Worst relative deviation of the true inclusion probabilities from those asked for.
  [[nodiscard]] double worst_deviation() const { return worst_deviation_; }

 private:
  bool limited_ = false;
  std::size_t group_size_ = 1;
  GroupDesign design_;
  std::vector<double> weights_;
  std::vector<CumulativeTable> tables_;  ///< one over all experts; where groups limit the choice, one a group
  std::vector<double> group_weights_;
  double worst_deviation_ = 0.0;
};

/// Scales non-negative loads to inclusion probabilities π_e = min(1, c·load_e) with Σ = k. Throws nothing: loads that
/// would pass 1 are held there and the rest share what is left.
std::vector<double> inclusion_from_loads(std::span<const double> loads, std::size_t k);
/// The same of each layer: [layers, experts] by loads [layers][experts].
std::vector<double> inclusion_from_loads(const std::vector<std::vector<double>>& loads, std::size_t k);

}  // namespace moesim
