#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "sim/placement/placement.hpp"

namespace moesim {

/// One layer's choices of experts, rank by rank of the tokens' homes.
struct RoutedBatch {
  std::span<const std::uint16_t> choices;  ///< [tokens, k], kNoExpert where there is none
  std::size_t k = 1;
  std::span<const std::size_t> first_token;  ///< [ranks + 1]
  std::size_t ranks_per_node = 1;
};

/// For each of `batch.choices` the index among its expert's copies (LayerPlacement::replicas_of).
std::vector<std::uint32_t> choose_replicas(const LayerPlacement& placement, const RoutedBatch& batch,
                                           ReplicaChoice choice, std::uint64_t seed);

/// Rows that each copy of each expert takes, [experts][copies], with Σ over the copies of e = rows[e] and the greatest
/// rank load as small as whole rows allow: LPLB's linear program, min M subject to Σ over copies x = rows[e], per rank
/// Σ x ≤ M, x ≥ 0, solved exactly by shifting rows along paths from the busiest rank.
std::vector<std::vector<std::int64_t>> balanced_rows(const LayerPlacement& placement,
                                                     std::span<const std::int64_t> rows);

}  // namespace moesim
