#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "workloads/routing/types.hpp"

namespace moesim {

/// Inverse of a discrete distribution function: maps u in [0, 1) to an item so that uniform u give items in
/// proportion to their weights. A guide table makes it one look-up and about one comparison (Chen and Asau 1974;
/// Devroye, Non-Uniform Random Variate Generation, section III.2.4).
class CumulativeTable {
 public:
  CumulativeTable() = default;
  /// Weights ≥ 0 with a positive sum, `order` is a permutation of the items: neighbours in it have neighbouring u.
  CumulativeTable(std::span<const double> weights, std::span<const ExpertIndex> order);

  [[nodiscard]] ExpertIndex at(double u) const {
    std::size_t place = guide_[static_cast<std::size_t>(u * guide_scale_)];
    while (u >= upper_[place]) {
      ++place;
    }
    return items_[place];
  }

 private:
  double guide_scale_ = 0.0;
  std::vector<std::uint16_t> guide_;  ///< first place that a u of this cell can fall to
  std::vector<double> upper_;         ///< places in order; the last is above every u
  std::vector<ExpertIndex> items_;
};

}  // namespace moesim
