#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace moesim {

/// Row → column of a complete assignment with the greatest sum of `gains` [n, n]. Shortest augmenting paths, O(n³):
/// Jonker, Volgenant: "A shortest augmenting path algorithm for dense and sparse linear assignment problems",
/// Computing 38 (1987).
std::vector<std::size_t> best_assignment(std::span<const double> gains, std::size_t n);

/// A placement may call its nodes, and the ranks inside a node, by other names: loads stay what they are, and
/// times about so where nodes are equal and the ranks inside them too. This renames those of `after` so that as many of
/// its copies as can be lie where `before` has one, the best ranks for each pair of nodes, then the best nodes. Both
/// [slots], the expert in each slot, rank by rank; the last node may have fewer ranks, and keeps its name.
std::vector<std::uint16_t> relabelled(std::span<const std::uint16_t> after, std::span<const std::uint16_t> before,
                                      std::size_t ranks, std::size_t ranks_per_node);

/// Copies that `after` has on a rank where `before` has none of that expert: those that have to move.
std::size_t moved_copies(std::span<const std::uint16_t> after, std::span<const std::uint16_t> before,
                         std::size_t ranks);

}  // namespace moesim
