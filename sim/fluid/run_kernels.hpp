#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

namespace moesim::fluid {

inline constexpr double kNoLimit = std::numeric_limits<double>::infinity();

/// One further link of a run of flows: the same for all (stride 0), or the next for each (stride 1).
struct RunLink {
  std::uint32_t link;
  std::uint32_t stride;
};

/// Flows that follow each other in a row, and whose further links do so too.
struct Run {
  std::uint32_t begin;  ///< in its row
  std::uint32_t count;
  std::uint32_t first_link;  ///< in the table of RunLink, `others` of them
};

/// Σ over a link's flows: rates of those that others hold back, weights of those that it holds back itself.
struct Sums {
  double held_elsewhere = 0.0;
  double held_here = 0.0;
};

/// A row of flows in dense arrays; who is through, or not yet there, has nothing left.
struct RunRow {
  std::span<const Run> runs;
  const RunLink* links;
  std::size_t others;
  const double* left;  ///< [flows]
  std::size_t flows;
  const double* level;  ///< [links]
  double* limit;        ///< [flows]
  double* elsewhere;    ///< [links], Sums as two arrays
  double* here;
};

/// The loops over a row: the same operations in the same order on every machine (as block_kernels.hpp).
struct RunKernels {
  /// limit = min(left/length, levels of the further links); without 1/length, of the levels alone, and 0 where nothing
  /// is left.
  void (*limits)(const RunRow& row, double inverse_length);
  /// Sums of a link of level `level` over flows with these limits.
  Sums (*sums)(const double* limit, std::size_t flows, double level);
  /// Adds min(limit, own) to the sums of the further links.
  void (*scatter)(const RunRow& row, double own);
};

/// For the machine that this runs on.
const RunKernels& run_kernels();
/// Without any vector instructions but those that every machine has.
const RunKernels& portable_run_kernels();

}  // namespace moesim::fluid
