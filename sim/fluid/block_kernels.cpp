#include "sim/fluid/block_kernels.hpp"

#include <algorithm>
#include <bit>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "sim/fluid/aligned.hpp"
#include "sim/fluid/noise.hpp"

namespace moesim::fluid {
namespace {

/// Which of `bits` are below −slack, if any are below 0.
std::uint32_t below_slack(std::uint32_t bits, const double* free, const double* slack) {
  std::uint32_t below = 0;
  for (; bits != 0; bits &= bits - 1) {
    const int lane = std::countr_zero(bits);
    below |= static_cast<std::uint32_t>(free[lane] < -slack[lane]) << lane;
  }
  return below;
}

template <Wanted kWanted>
RowLevels plain_move(const RowMove& move) {
  RowLevels levels;
  for (std::size_t i = 0; i < move.blocks; ++i) {
    const RowBlock& part = move.row[i];
    const double* weight = move.weights + kBlock * part.storage;
    const double* level = move.level + kBlock * part.block;
    double* left = move.free + kBlock * part.block;
    std::uint32_t negative = 0;
    for (std::uint32_t bits = part.owned; bits != 0; bits &= bits - 1) {
      const int lane = std::countr_zero(bits);
      if constexpr (kWanted != Wanted::kGreatestOwning) {
        levels.least_owned = std::min(levels.least_owned, level[lane]);
      }
      left[lane] -= weight[lane] * move.change;
      negative |= static_cast<std::uint32_t>(left[lane] < 0.0) << lane;
    }
    if constexpr (kWanted != Wanted::kLeastOwned) {
      for (std::uint32_t bits = part.owning; bits != 0; bits &= bits - 1) {
        levels.greatest_owning = std::max(levels.greatest_owning, level[std::countr_zero(bits)]);
      }
    }
    move.below[i] = below_slack(negative, left, move.slack + kBlock * part.block);
  }
  return levels;
}

std::int64_t earliest(const std::int64_t* ticks) { return *std::min_element(ticks, ticks + kBlock); }

#if defined(__x86_64__)

constexpr std::size_t kWideLanes = 8;
constexpr std::size_t kWideVectors = kBlock / kWideLanes;

/// (The masked form with all lanes: GCC 12 takes the plain one for a use of what was never set. So below.)
[[gnu::target("avx512f")]] inline double least_lane(__m512d lanes) {
  const __m256d half =
      _mm256_min_pd(_mm512_maskz_extractf64x4_pd(0xff, lanes, 0), _mm512_maskz_extractf64x4_pd(0xff, lanes, 1));
  const __m128d pair = _mm_min_pd(_mm256_castpd256_pd128(half), _mm256_extractf128_pd(half, 1));
  return std::min(_mm_cvtsd_f64(pair), _mm_cvtsd_f64(_mm_unpackhi_pd(pair, pair)));
}

[[gnu::target("avx512f")]] inline double greatest_lane(__m512d lanes) {
  const __m256d half =
      _mm256_max_pd(_mm512_maskz_extractf64x4_pd(0xff, lanes, 0), _mm512_maskz_extractf64x4_pd(0xff, lanes, 1));
  const __m128d pair = _mm_max_pd(_mm256_castpd256_pd128(half), _mm256_extractf128_pd(half, 1));
  return std::max(_mm_cvtsd_f64(pair), _mm_cvtsd_f64(_mm_unpackhi_pd(pair, pair)));
}

template <Wanted kWanted>
[[gnu::target("avx512f,avx512dq")]] RowLevels wide_move(const RowMove& move) {
  const std::size_t blocks = move.blocks;
  const RowBlock* const row = move.row;
  const double* const all_weights = move.weights;
  const double* const all_levels = move.level;
  double* const all_free = move.free;
  const __m512d factor = _mm512_set1_pd(move.change);
  __m512d least = _mm512_set1_pd(kInfinity);
  __m512d greatest = _mm512_set1_pd(-kInfinity);
  for (std::size_t i = 0; i < blocks; ++i) {
    const std::uint32_t owned = row[i].owned;
    [[maybe_unused]] const std::uint32_t owning = row[i].owning;
    const double* weight = all_weights + kBlock * row[i].storage;
    const double* level = all_levels + kBlock * row[i].block;
    double* left = all_free + kBlock * row[i].block;
    const bool uniform = row[i].uniform != 0.0;
    const __m512d same = _mm512_set1_pd(row[i].uniform * move.change);
    std::uint32_t negative = 0;
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kWideVectors; ++v) {
      const auto mine = static_cast<__mmask8>(owned >> (kWideLanes * v));
      const __m512d levels = _mm512_load_pd(level + kWideLanes * v);
      if constexpr (kWanted != Wanted::kGreatestOwning) {
        least = _mm512_mask_min_pd(least, mine, least, levels);
      }
      if constexpr (kWanted != Wanted::kLeastOwned) {
        const auto theirs = static_cast<__mmask8>(owning >> (kWideLanes * v));
        greatest = _mm512_mask_max_pd(greatest, theirs, greatest, levels);
      }
      const __m512d product = uniform ? same : _mm512_mul_pd(_mm512_load_pd(weight + kWideLanes * v), factor);
      const __m512d before = _mm512_load_pd(left + kWideLanes * v);
      const __m512d value = _mm512_mask_sub_pd(before, mine, before, product);
      _mm512_store_pd(left + kWideLanes * v, value);
      negative |= static_cast<std::uint32_t>(_mm512_movepi64_mask(_mm512_castpd_si512(value))) << (kWideLanes * v);
    }
    negative &= owned;
    move.below[i] = negative == 0 ? 0 : below_slack(negative, left, move.slack + kBlock * row[i].block);
  }
  return {least_lane(least), greatest_lane(greatest)};
}

constexpr std::size_t kHalfLanes = 4;
constexpr std::size_t kHalfVectors = kBlock / kHalfLanes;

/// All bits of the lanes that the low four bits of `bits` name.
[[gnu::target("avx2")]] inline __m256d lanes_of(std::uint32_t bits) {
  const __m256i lane = _mm256_setr_epi64x(1, 2, 4, 8);
  return _mm256_castsi256_pd(
      _mm256_cmpeq_epi64(_mm256_and_si256(_mm256_set1_epi64x(static_cast<long long>(bits)), lane), lane));
}

template <Wanted kWanted>
[[gnu::target("avx2")]] RowLevels half_move(const RowMove& move) {
  const __m256d factor = _mm256_set1_pd(move.change);
  const __m256d highest = _mm256_set1_pd(kInfinity);
  const __m256d lowest = _mm256_set1_pd(-kInfinity);
  __m256d least = highest;
  __m256d greatest = lowest;
  for (std::size_t i = 0; i < move.blocks; ++i) {
    const RowBlock& part = move.row[i];
    const double* const weight = move.weights + kBlock * part.storage;
    const double* const level = move.level + kBlock * part.block;
    double* const left = move.free + kBlock * part.block;
    const bool uniform = part.uniform != 0.0;
    const __m256d same = _mm256_set1_pd(part.uniform * move.change);
    std::uint32_t negative = 0;
#pragma GCC unroll 8
    for (std::size_t v = 0; v < kHalfVectors; ++v) {
      const __m256d mine = lanes_of(part.owned >> (kHalfLanes * v));
      const __m256d levels = _mm256_load_pd(level + kHalfLanes * v);
      if constexpr (kWanted != Wanted::kGreatestOwning) {
        least = _mm256_min_pd(least, _mm256_blendv_pd(highest, levels, mine));
      }
      if constexpr (kWanted != Wanted::kLeastOwned) {
        const __m256d theirs = lanes_of(part.owning >> (kHalfLanes * v));
        greatest = _mm256_max_pd(greatest, _mm256_blendv_pd(lowest, levels, theirs));
      }
      const __m256d product = uniform ? same : _mm256_mul_pd(_mm256_load_pd(weight + kHalfLanes * v), factor);
      const __m256d before = _mm256_load_pd(left + kHalfLanes * v);
      const __m256d value = _mm256_blendv_pd(before, _mm256_sub_pd(before, product), mine);
      _mm256_store_pd(left + kHalfLanes * v, value);
      negative |= static_cast<std::uint32_t>(_mm256_movemask_pd(value)) << (kHalfLanes * v);
    }
    negative &= part.owned;
    move.below[i] = negative == 0 ? 0 : below_slack(negative, left, move.slack + kBlock * part.block);
  }
  alignas(32) double lanes[2][kHalfLanes];
  _mm256_store_pd(lanes[0], least);
  _mm256_store_pd(lanes[1], greatest);
  return {*std::min_element(lanes[0], lanes[0] + kHalfLanes), *std::max_element(lanes[1], lanes[1] + kHalfLanes)};
}

[[gnu::target("avx2")]] std::int64_t half_earliest(const std::int64_t* ticks) {
  const auto* const vectors = reinterpret_cast<const __m256i*>(ticks);
  __m256i least = _mm256_load_si256(vectors);
  for (std::size_t v = 1; v < kHalfVectors; ++v) {
    const __m256i other = _mm256_load_si256(vectors + v);
    least = _mm256_blendv_epi8(least, other, _mm256_cmpgt_epi64(least, other));
  }
  alignas(32) std::int64_t lanes[kHalfLanes];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), least);
  return *std::min_element(lanes, lanes + kHalfLanes);
}

[[gnu::target("avx512f")]] std::int64_t wide_earliest(const std::int64_t* ticks) {
  __m512i least = _mm512_load_si512(ticks);
  for (std::size_t v = 1; v < kWideVectors; ++v) {
    least = _mm512_mask_min_epi64(least, 0xff, least, _mm512_load_si512(ticks + kWideLanes * v));
  }
  alignas(64) std::int64_t lanes[kWideLanes];
  _mm512_store_si512(lanes, least);
  return *std::min_element(lanes, lanes + kWideLanes);
}

#endif

using Move = RowLevels (*)(const RowMove& move);

/// The loop that finds out what is wanted.
template <Move kLeast, Move kGreatest, Move kBoth>
RowLevels choose(const RowMove& move) {
  return move.wanted == Wanted::kLeastOwned       ? kLeast(move)
         : move.wanted == Wanted::kGreatestOwning ? kGreatest(move)
                                                  : kBoth(move);
}

constexpr BlockKernels kPortable{
    choose<plain_move<Wanted::kLeastOwned>, plain_move<Wanted::kGreatestOwning>, plain_move<Wanted::kBoth>>, earliest};

#if defined(__x86_64__)
constexpr BlockKernels kHalf{
    choose<half_move<Wanted::kLeastOwned>, half_move<Wanted::kGreatestOwning>, half_move<Wanted::kBoth>>,
    half_earliest};
constexpr BlockKernels kWide{
    choose<wide_move<Wanted::kLeastOwned>, wide_move<Wanted::kGreatestOwning>, wide_move<Wanted::kBoth>>,
    wide_earliest};
#endif

}  // namespace

std::vector<const BlockKernels*> all_block_kernels() {
  std::vector<const BlockKernels*> kernels{&kPortable};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") != 0) {
    kernels.push_back(&kHalf);
  }
  if (__builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512dq") != 0) {
    kernels.push_back(&kWide);
  }
#endif
  return kernels;
}

const BlockKernels& block_kernels() {
  static const BlockKernels& kBest = *all_block_kernels().back();
  return kBest;
}

}  // namespace moesim::fluid
