#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "sim/fluid/aligned.hpp"
#include "sim/fluid/block_kernels.hpp"

namespace moesim::fluid {

/// Which links share flows, in blocks: for each pair (L, M) of links the weight
///
///   W[L][M] = Σ_{f owned by L that use M} w_{f,M}·φ_f
///
/// by which M's load rises with L's level. A block of a row exists once two links had a flow in common, and stays.
class Coupling {
 public:
  void add_block_of_links() { rows_.resize(rows_.size() + kBlock); }

  /// Some flows: how many, and the exclusive or of their numbers, which is the number of the only one where there is
  /// one.
  struct Pair {
    std::uint32_t count = 0;
    std::uint32_t flows = 0;
  };
  /// `owner` begins, or ceases, to own flows, which take `claim` of `link` for each unit of level.
  void attach(std::uint32_t owner, std::uint32_t link, Pair flows, double claim);
  void detach(std::uint32_t owner, std::uint32_t link, Pair flows, double claim);

  /// A hint that flows of the pair are soon attached or detached.
  void prefetch(std::uint32_t owner, std::uint32_t link) const {
    const Row& row = rows_[owner];
    const std::size_t wanted = link / kBlock;
    if (wanted < row.place.size() && row.place[wanted] != 0) {
      const std::size_t slot = kBlock * row.blocks[row.place[wanted] - 1].storage + link % kBlock;
      __builtin_prefetch(&weights_[slot], 1);
      __builtin_prefetch(&pairs_[slot], 1);
    }
  }

  [[nodiscard]] std::span<const RowBlock> row(std::uint32_t link) const { return rows_[link].blocks; }
  [[nodiscard]] const double* weights() const { return weights_.data(); }
  [[nodiscard]] double weight(const RowBlock& block, std::uint32_t link) const {
    return weights_[kBlock * block.storage + link % kBlock];
  }

  /// The flows that `owner` owns and that use `link`.
  [[nodiscard]] Pair pair(std::uint32_t owner, std::uint32_t link) const;

 private:
  struct Row {
    std::vector<RowBlock> blocks;      ///< in the order of their making
    std::vector<std::uint32_t> place;  ///< [blocks of links]: 1 + where in `blocks`; 0: there is none
  };
  RowBlock& block(std::uint32_t link, std::uint32_t other);

  std::vector<Row> rows_;  ///< [links]
  AlignedVector<double> weights_;
  AlignedVector<Pair> pairs_;  ///< beside the weights
};

}  // namespace moesim::fluid
