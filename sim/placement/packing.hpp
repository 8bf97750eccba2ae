#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace moesim {

/// One copy of an expert and the weight it brings to its rank.
struct WeightedCopy {
  std::uint16_t expert = 0;
  double weight = 0.0;
};

/// Whether two copies of one expert may share a rank, where they serve no purpose.
enum class SameRank { kAllowed, kAvoided };

/// Heaviest copy first to the lightest rank with room (lowest index on ties); with kAvoided, to one that has no copy
/// of the expert while there is one. Returns the expert in each slot, rank by rank.
std::vector<std::uint16_t> pack_heaviest_first(std::vector<WeightedCopy> copies, std::size_t ranks, SameRank same_rank);

/// Each expert as often as `count` says, its load split evenly.
std::vector<WeightedCopy> even_copies(std::span<const double> loads, std::span<const std::uint32_t> count);

}  // namespace moesim
