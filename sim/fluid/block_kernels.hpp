#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

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

/// What is to be found out about a row.
enum class Wanted : std::uint8_t { kLeastOwned, kGreatestOwning, kBoth };

/// What is there in a row, as far as it is wanted.
struct RowLevels {
  double least_owned = std::numeric_limits<double>::infinity();       ///< level of the links marked `owned`
  double greatest_owning = -std::numeric_limits<double>::infinity();  ///< level of the links marked `owning`
};

/// A link's level changes, with all that means for the links of its row.
struct RowMove {
  const RowBlock* row;
  std::size_t blocks;
  Wanted wanted;
  const double* weights;
  double change;
  const double* level;   ///< [links]
  double* free;          ///< [links]: becomes free − weight·change for those `owned`
  const double* slack;   ///< [links]
  std::uint32_t* below;  ///< [blocks]: which of those `owned` now have free < −slack
};

/// The loops over a row. They do the same operations in the same order of rounding on every machine: elementwise
/// products and differences, without fused multiply-add, and minima and maxima.
struct BlockKernels {
  RowLevels (*move)(const RowMove& move);
  /// min over one block.
  std::int64_t (*earliest)(const std::int64_t* ticks);
};

/// For the machine that this runs on.
const BlockKernels& block_kernels();
/// All that this machine can run; the first need no vector instructions but those that every machine has.
std::vector<const BlockKernels*> all_block_kernels();

}  // namespace moesim::fluid
