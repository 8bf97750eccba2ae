#include "sim/fluid/block_kernels.hpp"

#include <algorithm>
#include <bit>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "sim/fluid/noise.hpp"

namespace moesim::fluid {
namespace {

double least_owned(const RowBlock* row, std::size_t blocks, const double* level) {
  double least = kInfinity;
  for (std::size_t i = 0; i < blocks; ++i) {
    const double* values = level + kBlock * row[i].block;
    for (std::uint32_t bits = row[i].owned; bits != 0; bits &= bits - 1) {
      least = std::min(least, values[std::countr_zero(bits)]);
    }
  }
  return least;
}

double greatest_owning(const RowBlock* row, std::size_t blocks, const double* level) {
  double greatest = -kInfinity;
  for (std::size_t i = 0; i < blocks; ++i) {
    const double* values = level + kBlock * row[i].block;
    for (std::uint32_t bits = row[i].owning; bits != 0; bits &= bits - 1) {
      greatest = std::max(greatest, values[std::countr_zero(bits)]);
    }
  }
  return greatest;
}

/// Which of `bits` are below −slack, if any are below 0.
std::uint32_t below_slack(std::uint32_t bits, const double* free, const double* slack) {
  std::uint32_t below = 0;
  for (; bits != 0; bits &= bits - 1) {
    const int lane = std::countr_zero(bits);
    below |= static_cast<std::uint32_t>(free[lane] < -slack[lane]) << lane;
  }
  return below;
}

void subtract(const RowBlock* row, std::size_t blocks, const double* weights, double change, double* free,
              const double* slack, std::uint32_t* below) {
  for (std::size_t i = 0; i < blocks; ++i) {
    const double* weight = weights + kBlock * row[i].storage;
    double* left = free + kBlock * row[i].block;
    std::uint32_t negative = 0;
    for (std::uint32_t bits = row[i].owned; bits != 0; bits &= bits - 1) {
      const int lane = std::countr_zero(bits);
      left[lane] -= weight[lane] * change;
      negative |= static_cast<std::uint32_t>(left[lane] < 0.0) << lane;
    }
    below[i] = below_slack(negative, left, slack + kBlock * row[i].block);
  }
}

std::int64_t earliest(const std::int64_t* ticks) { return *std::min_element(ticks, ticks + kBlock); }

#if defined(__x86_64__)

constexpr std::size_t kLanes = 8;
constexpr std::size_t kVectors = kBlock / kLanes;

[[gnu::target("avx512f")]] double wide_least_owned(const RowBlock* row, std::size_t blocks, const double* level) {
  __m512d least = _mm512_set1_pd(kInfinity);
  for (std::size_t i = 0; i < blocks; ++i) {
    const double* values = level + kBlock * row[i].block;
    for (std::size_t v = 0; v < kVectors; ++v) {
      const auto mask = static_cast<__mmask8>(row[i].owned >> (kLanes * v));
      least = _mm512_mask_min_pd(least, mask, least, _mm512_load_pd(values + kLanes * v));
    }
  }
  alignas(64) double lanes[kLanes];
  _mm512_store_pd(lanes, least);
  return *std::min_element(lanes, lanes + kLanes);
}

[[gnu::target("avx512f")]] double wide_greatest_owning(const RowBlock* row, std::size_t blocks, const double* level) {
  __m512d greatest = _mm512_set1_pd(-kInfinity);
  for (std::size_t i = 0; i < blocks; ++i) {
    const double* values = level + kBlock * row[i].block;
    for (std::size_t v = 0; v < kVectors; ++v) {
      const auto mask = static_cast<__mmask8>(row[i].owning >> (kLanes * v));
      greatest = _mm512_mask_max_pd(greatest, mask, greatest, _mm512_load_pd(values + kLanes * v));
    }
  }
  alignas(64) double lanes[kLanes];
  _mm512_store_pd(lanes, greatest);
  return *std::max_element(lanes, lanes + kLanes);
}

[[gnu::target("avx512f")]] void wide_subtract(const RowBlock* row, std::size_t blocks, const double* weights,
                                              double change, double* free, const double* slack, std::uint32_t* below) {
  for (std::size_t i = 0; i < blocks; ++i) {
    const double* weight = weights + kBlock * row[i].storage;
    double* left = free + kBlock * row[i].block;
    std::uint32_t negative = 0;
    const __m512d factor = _mm512_set1_pd(change);
    const __m512d same = _mm512_set1_pd(row[i].uniform * change);
    for (std::size_t v = 0; v < kVectors; ++v) {
      const auto mask = static_cast<__mmask8>(row[i].owned >> (kLanes * v));
      const __m512d product = row[i].uniform != 0.0 ? same : _mm512_mul_pd(_mm512_load_pd(weight + kLanes * v), factor);
      const __m512d before = _mm512_load_pd(left + kLanes * v);
      const __m512d value = _mm512_mask_sub_pd(before, mask, before, product);
      _mm512_store_pd(left + kLanes * v, value);
      negative |= static_cast<std::uint32_t>(_mm512_mask_cmp_pd_mask(mask, value, _mm512_setzero_pd(), _CMP_LT_OQ))
                  << (kLanes * v);
    }
    below[i] = negative == 0 ? 0 : below_slack(negative, left, slack + kBlock * row[i].block);
  }
}

[[gnu::target("avx512f")]] std::int64_t wide_earliest(const std::int64_t* ticks) {
  __m512i least = _mm512_load_si512(ticks);
  for (std::size_t v = 1; v < kVectors; ++v) {
    // Masked with all lanes: GCC 12 takes the plain form for a use of what was never set.
    least = _mm512_mask_min_epi64(least, 0xff, least, _mm512_load_si512(ticks + kLanes * v));
  }
  alignas(64) std::int64_t lanes[kLanes];
  _mm512_store_si512(lanes, least);
  return *std::min_element(lanes, lanes + kLanes);
}

#endif

constexpr BlockKernels kPortable{least_owned, greatest_owning, subtract, earliest};

}  // namespace

const BlockKernels& portable_block_kernels() { return kPortable; }

const BlockKernels& block_kernels() {
#if defined(__x86_64__)
  static constexpr BlockKernels kWide{wide_least_owned, wide_greatest_owning, wide_subtract, wide_earliest};
  if (__builtin_cpu_supports("avx512f") != 0) {
    return kWide;
  }
#endif
  return kPortable;
}

}  // namespace moesim::fluid
