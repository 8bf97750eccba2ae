#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "sim/core/random.hpp"
#include "workloads/routing/cumulative_table.hpp"
#include "workloads/routing/expert_sampler.hpp"
#include "workloads/routing/types.hpp"

namespace moesim {

/// The experts that each of n points stands for in one layer, k to a point, so that a token on a point drawn uniformly
/// has expert e with the probability π_e asked for. Expert e stands at m_e = ⌊n·π_e⌋ points, no point twice, else at
/// random. A token keeps each of them with probability s, the share of slots that follow their point; its other slots
/// are drawn anew, such that expert e comes into them often enough to make up π_e: n·π_e − s·m_e times at n points.
/// Slots follow one by one, so that two experts of a layer and two of different layers are kept together as often.
class PointTable {
 public:
  /// `inclusion` [experts], each in [0, 1], Σ = k; `shared` is s.
  PointTable(std::span<const double> inclusion, std::size_t k, std::size_t points, double shared, RandomStream& random);

  [[nodiscard]] std::size_t points() const { return points_; }
  /// Share of the slots that no point has an expert for, whether they follow or not.
  [[nodiscard]] double free_share() const { return free_share_; }

  /// The k experts of a token on `point`. `sampler` has the same inclusion probabilities; where nothing follows a
  /// point, all are drawn from it.
  void choose(std::size_t point, const ExpertSampler& sampler, HalfWords& random, std::span<ExpertIndex> out) const;

 private:
  void deal(std::span<const std::size_t> times, RandomStream& random);
  void mix(RandomStream& random);
  [[nodiscard]] std::vector<double> rest_weights(std::span<const double> rest) const;
  [[nodiscard]] std::span<ExpertIndex> row(std::size_t point) { return std::span(experts_).subspan(point * k_, k_); }

  std::size_t k_;
  std::size_t points_;
  double shared_;                       ///< s
  std::vector<ExpertIndex> experts_;    ///< [points, k]
  std::vector<std::uint16_t> decided_;  ///< [points]: how many of its k are
  CumulativeTable rest_;                ///< for the free slots
  double free_share_ = 0.0;
};

}  // namespace moesim
