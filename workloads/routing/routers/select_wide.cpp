#include "workloads/routing/routers/select_wide.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "sim/core/error.hpp"

namespace moesim::wide {

#if defined(__x86_64__)

namespace {

constexpr std::size_t kLanes = 16;
constexpr std::size_t kMostVectors = 64;  // 1,024 experts
constexpr std::uint32_t kAllLanes = 0xFFFF;

// Masked forms with all lanes throughout: GCC 12 takes the plain ones for a use of what was never set.

[[gnu::target("avx512f")]] inline __m512i lane_numbers() {
  return _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
}

/// Lane i has what stood in lane i + turn, modulo 16.
[[gnu::target("avx512f")]] inline __m512 turned(__m512 values, int turn) {
  const __m512i from = _mm512_add_epi32(lane_numbers(), _mm512_set1_epi32(turn));  // its low four bits are looked at
  return _mm512_maskz_permutexvar_ps(kAllLanes, from, values);
}

[[gnu::target("avx512f")]] inline float largest_of(__m512 values) {
  for (const int turn : {8, 4, 2, 1}) {
    values = _mm512_mask_max_ps(values, kAllLanes, values, turned(values, turn));
  }
  return _mm512_cvtss_f32(values);
}

[[gnu::target("avx512f")]] inline float smallest_of(__m512 values) {
  for (const int turn : {8, 4, 2, 1}) {
    values = _mm512_mask_min_ps(values, kAllLanes, values, turned(values, turn));
  }
  return _mm512_cvtss_f32(values);
}

/// For each lane how many lanes come before it in falling order, equal ones by their number.
[[gnu::target("avx512f")]] inline __m512i ranks_of(__m512 values) {
  __m512i rank = _mm512_setzero_si512();
  for (int turn = 1; turn < static_cast<int>(kLanes); ++turn) {
    const __m512 other = turned(values, turn);
    // Lanes 16 − turn … 15 look at a lower lane, which comes first where both are equal.
    const auto lower = static_cast<__mmask16>(kAllLanes << (static_cast<int>(kLanes) - turn));
    const __mmask16 before =
        _mm512_cmp_ps_mask(other, values, _CMP_GT_OQ) | _mm512_mask_cmp_ps_mask(lower, other, values, _CMP_EQ_OQ);
    rank = _mm512_mask_sub_epi32(rank, before, rank, _mm512_set1_epi32(-1));
  }
  return rank;
}

/// A number that at least k of the values looked at reach: of each lane's largest, the k-th.
[[gnu::target("avx512f")]] inline float reached_by(__m512 largest, std::size_t k) {
  const __mmask16 high = _mm512_cmplt_epi32_mask(ranks_of(largest), _mm512_set1_epi32(static_cast<int>(k)));
  return smallest_of(_mm512_mask_mov_ps(_mm512_set1_ps(std::numeric_limits<float>::infinity()), high, largest));
}

/// The vectors of 16 experts that a token may choose from.
struct Vectors {
  std::array<std::uint8_t, kMostVectors> at;
  std::size_t count;
};

[[gnu::target("avx512f")]] inline float worth(const float* group, std::size_t vectors, GroupScore how) {
  __m512 first = _mm512_loadu_ps(group);
  if (how == GroupScore::kBest) {
    for (std::size_t v = 1; v < vectors; ++v) {
      first = _mm512_mask_max_ps(first, kAllLanes, first, _mm512_loadu_ps(group + kLanes * v));
    }
    return largest_of(first);
  }
  __m512 second = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  for (std::size_t v = 1; v < vectors; ++v) {
    const __m512 next = _mm512_loadu_ps(group + kLanes * v);
    second = _mm512_mask_max_ps(second, kAllLanes, second, _mm512_mask_min_ps(first, kAllLanes, first, next));
    first = _mm512_mask_max_ps(first, kAllLanes, first, next);
  }
  // The largest, then the larger of what is left in its lane and the other lanes' largest.
  const float best = largest_of(first);
  const __mmask16 there = _mm512_cmp_ps_mask(first, _mm512_set1_ps(best), _CMP_EQ_OQ);
  const auto lane = static_cast<__mmask16>(there & -there);
  return best + largest_of(_mm512_mask_mov_ps(first, lane, second));
}

[[gnu::target("avx512f")]] inline void choose_groups(const SelectRule& rule, const float* row, Vectors& vectors) {
  const std::size_t each = rule.experts / rule.groups / kLanes;
  alignas(64) std::array<float, kLanes> score;
  score.fill(-std::numeric_limits<float>::infinity());
  for (std::size_t g = 0; g < rule.groups; ++g) {
    score[g] = worth(row + g * each * kLanes, each, rule.group_score);
  }
  const __m512i rank = ranks_of(_mm512_load_ps(score.data()));
  std::uint32_t chosen = _mm512_cmplt_epi32_mask(rank, _mm512_set1_epi32(static_cast<int>(rule.groups_per_token)));
  vectors.count = 0;
  for (; chosen != 0; chosen &= chosen - 1) {
    const auto first = static_cast<std::size_t>(std::countr_zero(chosen)) * each;
    for (std::size_t v = first; v < first + each; ++v) {
      vectors.at[vectors.count++] = static_cast<std::uint8_t>(v);
    }
  }
}

/// Puts `count` ≥ k candidates in falling order and keeps k.
[[gnu::target("avx512f")]] inline void order_candidates(const float* value, const std::int32_t* expert,
                                                        std::size_t count, std::size_t k, ExpertIndex* out) {
  if (count <= kLanes) {
    const auto there = static_cast<__mmask16>((1U << count) - 1);
    const __m512 lowest = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
    alignas(64) std::array<std::int32_t, kLanes> rank;
    _mm512_store_si512(rank.data(), ranks_of(_mm512_mask_loadu_ps(lowest, there, value)));
    alignas(64) std::array<ExpertIndex, kLanes> ordered;
    for (std::size_t i = 0; i < count; ++i) {
      ordered[static_cast<std::size_t>(rank[i])] = static_cast<ExpertIndex>(expert[i]);
    }
    std::copy_n(ordered.begin(), k, out);
    return;
  }
  std::array<float, kLanes> kept;
  std::size_t size = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (size == k && !(value[i] > kept[size - 1])) {
      continue;
    }
    std::size_t at = size < k ? size++ : size - 1;
    for (; at > 0 && value[i] > kept[at - 1]; --at) {
      kept[at] = kept[at - 1];
      out[at] = out[at - 1];
    }
    kept[at] = value[i];
    out[at] = static_cast<ExpertIndex>(expert[i]);
  }
}

[[gnu::target("avx512f")]] void select_rows(const SelectRule& rule, const float* scores, std::size_t tokens,
                                            ExpertIndex* out) {
  const __m512i lane = lane_numbers();
  alignas(64) std::array<float, kMostVectors * kLanes + kLanes> value;
  alignas(64) std::array<std::int32_t, kMostVectors * kLanes + kLanes> expert;
  Vectors vectors{};
  vectors.count = rule.experts / kLanes;
  for (std::size_t v = 0; v < vectors.count; ++v) {
    vectors.at[v] = static_cast<std::uint8_t>(v);
  }
  for (std::size_t token = 0; token < tokens; ++token) {
    const float* row = scores + token * rule.experts;
    if (rule.limits()) {
      choose_groups(rule, row, vectors);
    }
    __m512 largest = _mm512_loadu_ps(row + kLanes * vectors.at[0]);
    for (std::size_t v = 1; v < vectors.count; ++v) {
      largest = _mm512_mask_max_ps(largest, kAllLanes, largest, _mm512_loadu_ps(row + kLanes * vectors.at[v]));
    }
    const __m512 least = _mm512_set1_ps(reached_by(largest, rule.k));
    std::size_t count = 0;
    for (std::size_t v = 0; v < vectors.count; ++v) {
      const std::size_t first = kLanes * vectors.at[v];
      const __m512 values = _mm512_loadu_ps(row + first);
      const __mmask16 high = _mm512_cmp_ps_mask(values, least, _CMP_GE_OQ);
      const __m512i number = _mm512_add_epi32(lane, _mm512_set1_epi32(static_cast<int>(first)));
      _mm512_storeu_ps(value.data() + count, _mm512_maskz_compress_ps(high, values));
      _mm512_storeu_si512(expert.data() + count, _mm512_maskz_compress_epi32(high, number));
      count += static_cast<std::size_t>(std::popcount(static_cast<unsigned>(high)));
    }
    order_candidates(value.data(), expert.data(), count, rule.k, out + token * rule.k);
  }
}

/// Lane by lane what `exponential` in select.cpp does.
[[gnu::target("avx512f")]] inline __m512 exponential(__m512 x) {
  using namespace sigmoid;
  x = _mm512_mask_max_ps(x, kAllLanes, x, _mm512_set1_ps(-kLargest));
  x = _mm512_mask_min_ps(x, kAllLanes, x, _mm512_set1_ps(kLargest));
  const __m512i whole =
      _mm512_mask_cvtps_epi32(_mm512_setzero_si512(), kAllLanes, _mm512_mul_ps(x, _mm512_set1_ps(kLog2E)));
  const __m512 n = _mm512_mask_cvtepi32_ps(x, kAllLanes, whole);
  __m512 r = _mm512_sub_ps(x, _mm512_mul_ps(n, _mm512_set1_ps(kLn2High)));
  r = _mm512_sub_ps(r, _mm512_mul_ps(n, _mm512_set1_ps(kLn2Low)));
  __m512 p = _mm512_set1_ps(kPolynomial[0]);
  for (std::size_t i = 1; i < kPolynomial.size(); ++i) {
    p = _mm512_add_ps(_mm512_mul_ps(p, r), _mm512_set1_ps(kPolynomial[i]));
  }
  p = _mm512_add_ps(_mm512_mul_ps(p, _mm512_mul_ps(r, r)), r);
  p = _mm512_add_ps(p, _mm512_set1_ps(1.0F));
  const __m512i exponent =
      _mm512_mask_slli_epi32(whole, kAllLanes, _mm512_add_epi32(whole, _mm512_set1_epi32(127)), 23);
  return _mm512_mul_ps(p, _mm512_castsi512_ps(exponent));
}

[[gnu::target("avx512f")]] std::size_t exponential_rows(std::span<const float> x, float shift, std::span<float> out) {
  const std::size_t whole = x.size() / kLanes * kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes) {
    const __m512 shifted = _mm512_sub_ps(_mm512_loadu_ps(x.data() + i), _mm512_set1_ps(shift));
    _mm512_storeu_ps(out.data() + i, exponential(shifted));
  }
  return whole;
}

[[gnu::target("avx512f")]] std::size_t sigmoid_rows(std::span<const float> x, std::span<const float> bias,
                                                    std::span<float> out) {
  const std::size_t whole = x.size() / kLanes * kLanes;
  const __m512 one = _mm512_set1_ps(1.0F);
  for (std::size_t i = 0; i < whole; i += kLanes) {
    const __m512 negative = _mm512_sub_ps(_mm512_setzero_ps(), _mm512_loadu_ps(x.data() + i));
    __m512 value = _mm512_div_ps(one, _mm512_add_ps(one, exponential(negative)));
    if (!bias.empty()) {
      value = _mm512_add_ps(value, _mm512_loadu_ps(bias.data() + i));
    }
    _mm512_storeu_ps(out.data() + i, value);
  }
  return whole;
}

}  // namespace

bool available() { return __builtin_cpu_supports("avx512f") != 0; }

bool can_select(const SelectRule& rule) {
  return available() && rule.experts % (rule.groups * kLanes) == 0 && rule.experts <= kMostVectors * kLanes &&
         rule.k <= kLanes && rule.groups <= kLanes;
}

void select(const SelectRule& rule, const float* scores, std::size_t tokens, ExpertIndex* out) {
  select_rows(rule, scores, tokens, out);
}

std::size_t biased_sigmoid(std::span<const float> x, std::span<const float> bias, std::span<float> out) {
  return sigmoid_rows(x, bias, out);
}

std::size_t exponentials(std::span<const float> x, float shift, std::span<float> out) {
  return exponential_rows(x, shift, out);
}

#else

std::size_t exponentials(std::span<const float>, float, std::span<float>) { return 0; }
bool available() { return false; }
bool can_select(const SelectRule&) { return false; }
void select(const SelectRule&, const float*, std::size_t, ExpertIndex*) { ensure(false, "no vectors of 16 lanes"); }
std::size_t biased_sigmoid(std::span<const float>, std::span<const float>, std::span<float>) { return 0; }

#endif

}  // namespace moesim::wide
