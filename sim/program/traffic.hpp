#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "sim/placement/placement.hpp"
#include "sim/program/program.hpp"
#include "topologies/cluster.hpp"
#include "workloads/routing/types.hpp"

namespace moesim {

/// What the routing of one layer sends where. All counts are of tokens or copies of tokens.
struct LayerTraffic {
  std::size_t ranks = 0;
  std::size_t experts = 0;
  std::vector<std::uint32_t> home_tokens;       ///< [ranks]: tokens that live there
  std::vector<std::vector<std::int64_t>> rows;  ///< [ranks][slots]: copies of tokens routed to each slot's expert
  /// [ranks][slots]: rows that each slot's expert computes, those that only fill a buffer or a tile included.
  std::vector<std::vector<std::int64_t>> computed;
  std::vector<std::uint32_t> copies;       ///< [from, to]: copies by home rank and expert's rank, from = to included
  std::vector<std::uint32_t> tokens;       ///< [from, to]: distinct tokens of `from` with an expert on `to`
  std::vector<std::uint32_t> node_tokens;  ///< [from, node]: distinct tokens of `from` with an expert in the node

  [[nodiscard]] std::size_t nodes() const { return node_tokens.size() / ranks; }
  /// Distinct tokens that a rank has rows for, its own included.
  [[nodiscard]] std::int64_t tokens_at(std::size_t to) const {
    std::int64_t sum = 0;
    for (std::size_t from = 0; from < ranks; ++from) {
      sum += tokens_between(from, to);
    }
    return sum;
  }
  [[nodiscard]] std::uint32_t copies_between(std::size_t from, std::size_t to) const {
    return copies[from * ranks + to];
  }
  [[nodiscard]] std::uint32_t tokens_between(std::size_t from, std::size_t to) const {
    return tokens[from * ranks + to];
  }
};

/// Rows beyond those routed, which are computed all the same.
struct RowPadding {
  /// Buffers of fixed size, which are also sent whole; nullptr: none. A group that lies on several ranks has its rows
  /// from them in proportion to their tokens; rows of an expert with several copies go to them in turn.
  const CapacityLayout* buffers = nullptr;
  std::int64_t tile = 1;  ///< each expert's rows are filled up to a multiple of this
};

/// Counts one layer. `choices`: [tokens, k] expert ids, rank by rank, kNoExpert where there is none; `first_token`:
/// [ranks + 1], where each rank's tokens begin. For each choice `taken` says which of its expert's copies
/// it goes to; empty: they are taken in turn.
LayerTraffic count_traffic(const LayerPlacement& placement, const Cluster& cluster,
                           std::span<const std::uint16_t> choices, std::size_t k,
                           std::span<const std::size_t> first_token, std::span<const std::uint32_t> taken = {},
                           const RowPadding& padding = {});

}  // namespace moesim
