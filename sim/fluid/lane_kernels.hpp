#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace moesim::fluid {

/// Flows of one head come in packs of so many, one for each of as many tails that follow each other (dense_levels.hpp).
inline constexpr std::size_t kLanes = 8;

inline constexpr float kNoLevel = std::numeric_limits<float>::infinity();

/// Σ over flows that share a link or several: rates of those that others hold back, and how many these hold back.
struct Sums {
  double held_elsewhere = 0.0;
  double held_here = 0.0;
};

/// Packs of one head. Who is through, not yet there, or not at all, has nothing left.
struct Packs {
  std::size_t count;
  const std::uint32_t* tails;  ///< [count]: the first of the pack's tails is kLanes times this
  float* left;                 ///< [count·kLanes], aligned as a pack
  float* limit;                ///< [count·kLanes], aligned: what all but the first link allow a flow
};

/// The tails' levels, and sums over their flows.
struct Tails {
  const float* level;
  float* elsewhere;
  float* here;
};

/// The loops over packs: the same operations in the same order on every machine (as block_kernels.hpp).
struct LaneKernels {
  /// Sets limit = min(left/length, the tail's level, `least`), and returns the sums of a link of level `own` over it.
  Sums (*limits)(const Packs& packs, const float* tail_level, float inverse_length, float least, float own);
  /// Sums of a link of level `own` over flows with these limits.
  Sums (*sums)(const float* limit, std::size_t count, float own);
  /// Adds min(limit, own) to the sums of the tails, and returns the sums of what has level `least`.
  Sums (*scatter)(const Packs& packs, const Tails& tails, float least, float own);
  /// How many flows have no more left than `length` brings at min(tail's level, most).
  std::size_t (*ends)(const Packs& packs, const float* tail_level, float most, float length);
  /// Takes from `left` what `length` brings at min(tail's level, most). Who has no more than that part `same` of what
  /// it had, or less, is through: its place is added to `places`, what it had to `had`, and nothing is left. Returns
  /// how many.
  std::size_t (*advance)(const Packs& packs, const float* tail_level, float most, float length, float same,
                         std::uint32_t* places, float* had);
};

/// For the machine that this runs on.
const LaneKernels& lane_kernels();
/// All that this machine can run; the first need no vector instructions but those that every machine has.
std::vector<const LaneKernels*> all_lane_kernels();

}  // namespace moesim::fluid
