#pragma once

#include <cstddef>
#include <cstdint>

namespace moesim::fluid {

/// Links come in blocks of so many, one bit of a word each.
inline constexpr std::size_t kBlock = 32;

constexpr std::uint32_t bit_of(std::uint32_t link) { return 1U << (link % kBlock); }

/// Part of a link's row (coupling.hpp): the links of one block with which it shares flows.
struct RowBlock {
  std::uint32_t block = 0;
  std::uint32_t owned = 0;    ///< links that share a flow which this link owns
  std::uint32_t owning = 0;   ///< links that own a flow which this link shares
  std::uint32_t storage = 0;  ///< of the weights, in blocks
  double uniform = 0.0;       ///< the weight of all that are `owned`, if they are alike, else 0
};

/// The loops over a row. They do the same operations in the same order of rounding on every machine: elementwise
/// products and differences, without fused multiply-add, and minima and maxima.
struct BlockKernels {
  /// min of `level` over the links marked `owned`, infinity where there is none.
  double (*least_owned)(const RowBlock* row, std::size_t blocks, const double* level);
  /// max of `level` over the links marked `owning`, −infinity where there is none.
  double (*greatest_owning)(const RowBlock* row, std::size_t blocks, const double* level);
  /// free −= weight·change over the blocks of the row; below[i]: which of the links `owned` in block i
  /// now have free < −slack.
  void (*subtract)(const RowBlock* row, std::size_t blocks, const double* weights, double change, double* free,
                   const double* slack, std::uint32_t* below);
  /// min over one block.
  std::int64_t (*earliest)(const std::int64_t* ticks);
};

/// For the machine that this runs on.
const BlockKernels& block_kernels();
/// Without any vector instructions but those that every machine has.
const BlockKernels& portable_block_kernels();

}  // namespace moesim::fluid
