#include "workloads/routing/routers/select_eight.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <limits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "sim/core/error.hpp"

namespace moesim::eight {

#if defined(__x86_64__)

namespace {

constexpr std::size_t kLanes = 8;
constexpr std::size_t kMostVectors = 128;  // 1,024 experts
constexpr float kLowest = -std::numeric_limits<float>::infinity();

/// For each set of lanes their numbers, packed to the front: AVX2 has no instruction that compresses.
constexpr auto kPacked = [] {
  std::array<std::array<std::uint8_t, kLanes>, 256> packed{};
  for (std::size_t set = 0; set < packed.size(); ++set) {
    std::size_t count = 0;
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      if ((set >> lane & 1U) != 0) {
        packed[set][count++] = static_cast<std::uint8_t>(lane);
      }
    }
  }
  return packed;
}();

/// Sixteen lanes that are set and sixteen that are not: from 16 − i on, the lanes below i of sixteen are set.
constexpr auto kBelow = [] {
  std::array<std::int32_t, 32> below{};
  std::fill_n(below.begin(), 16, -1);
  return below;
}();

/// Lane by lane the largest and the second largest of what was looked at.
struct BestTwo {
  __m256 first;
  __m256 second;
};

[[gnu::target("avx2")]] inline BestTwo better(BestTwo a, BestTwo b) {
  const __m256 loser = _mm256_min_ps(a.first, b.first);
  return {_mm256_max_ps(a.first, b.first), _mm256_max_ps(loser, _mm256_max_ps(a.second, b.second))};
}

[[gnu::target("avx2")]] inline BestTwo best_two_of(const float* group, std::size_t vectors) {
  BestTwo best{_mm256_loadu_ps(group), _mm256_set1_ps(kLowest)};
  for (std::size_t v = 1; v < vectors; ++v) {
    const __m256 next = _mm256_loadu_ps(group + kLanes * v);
    best.second = _mm256_max_ps(best.second, _mm256_min_ps(best.first, next));
    best.first = _mm256_max_ps(best.first, next);
  }
  return best;
}

// Halve the lanes that two groups, pairs or fours of groups need: after all three each group has one.

[[gnu::target("avx2")]] inline BestTwo folded_ones(const BestTwo& a, const BestTwo& b) {
  return better({_mm256_unpacklo_ps(a.first, b.first), _mm256_unpacklo_ps(a.second, b.second)},
                {_mm256_unpackhi_ps(a.first, b.first), _mm256_unpackhi_ps(a.second, b.second)});
}

[[gnu::target("avx2")]] inline __m256 low_pairs(__m256 a, __m256 b) {
  return _mm256_shuffle_ps(a, b, _MM_SHUFFLE(1, 0, 1, 0));
}

[[gnu::target("avx2")]] inline __m256 high_pairs(__m256 a, __m256 b) {
  return _mm256_shuffle_ps(a, b, _MM_SHUFFLE(3, 2, 3, 2));
}

[[gnu::target("avx2")]] inline BestTwo folded_pairs(const BestTwo& a, const BestTwo& b) {
  return better({low_pairs(a.first, b.first), low_pairs(a.second, b.second)},
                {high_pairs(a.first, b.first), high_pairs(a.second, b.second)});
}

[[gnu::target("avx2")]] inline BestTwo folded_fours(const BestTwo& a, const BestTwo& b) {
  constexpr int kLowHalves = 0x20;
  constexpr int kHighHalves = 0x31;
  return better(
      {_mm256_permute2f128_ps(a.first, b.first, kLowHalves), _mm256_permute2f128_ps(a.second, b.second, kLowHalves)},
      {_mm256_permute2f128_ps(a.first, b.first, kHighHalves), _mm256_permute2f128_ps(a.second, b.second, kHighHalves)});
}

/// What each of up to eight groups is worth, −∞ where there is none.
[[gnu::target("avx2")]] inline __m256 worth(const SelectRule& rule, const float* row) {
  const std::size_t each = rule.experts / rule.groups;
  const __m256 lowest = _mm256_set1_ps(kLowest);
  std::array<BestTwo, kLanes> best;
  for (std::size_t g = 0; g < kLanes; ++g) {
    best[g] = g < rule.groups ? best_two_of(row + g * each, each / kLanes) : BestTwo{lowest, lowest};
  }
  const BestTwo low = folded_pairs(folded_ones(best[0], best[1]), folded_ones(best[2], best[3]));
  const BestTwo high = folded_pairs(folded_ones(best[4], best[5]), folded_ones(best[6], best[7]));
  const BestTwo all = folded_fours(low, high);
  return rule.group_score == GroupScore::kBest ? all.first : _mm256_add_ps(all.first, all.second);
}

/// For eight values, of which the first stands at place `from` of sixteen, how many of the `count` of `others` come
/// before each in falling order, equal ones by their place.
[[gnu::target("avx2")]] inline __m256i ranks_of(__m256 values, int from, const float* others, int count) {
  __m256i rank = _mm256_setzero_si256();
  for (int i = 0; i < count; ++i) {
    const __m256 other = _mm256_broadcast_ss(others + i);
    // Values up to the place of the other one come first where both are equal.
    const auto* below = reinterpret_cast<const __m256i*>(kBelow.data() + 16 - (i + 1) + from);
    const __m256 first = _mm256_castsi256_ps(_mm256_loadu_si256(below));
    const __m256 before =
        _mm256_blendv_ps(_mm256_cmp_ps(other, values, _CMP_GE_OQ), _mm256_cmp_ps(other, values, _CMP_GT_OQ), first);
    rank = _mm256_sub_epi32(rank, _mm256_castps_si256(before));
  }
  return rank;
}

/// One step of a sorting network: lanes kApart from each other in order, falling in even blocks of kBlock lanes.
template <unsigned kBlock, unsigned kApart>
[[gnu::target("avx2")]] inline __m256 exchanged(__m256 values) {
  constexpr int kSmaller = [] {
    unsigned lanes = 0;
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      lanes |= ((lane & kBlock) == 0) != ((lane & kApart) == 0) ? 1U << lane : 0U;
    }
    return static_cast<int>(lanes);
  }();
  const __m256 other = kApart == 4   ? _mm256_permute2f128_ps(values, values, 1)
                       : kApart == 2 ? _mm256_permute_ps(values, _MM_SHUFFLE(1, 0, 3, 2))
                                     : _mm256_permute_ps(values, _MM_SHUFFLE(2, 3, 0, 1));
  return _mm256_blend_ps(_mm256_max_ps(values, other), _mm256_min_ps(values, other), kSmaller);
}

/// In falling order, where the first half falls and the second rises or the other way round.
[[gnu::target("avx2")]] inline __m256 merged(__m256 values) {
  return exchanged<8, 1>(exchanged<8, 2>(exchanged<8, 4>(values)));
}

[[gnu::target("avx2")]] inline __m256 in_falling_order(__m256 values) {
  return merged(exchanged<4, 1>(exchanged<4, 2>(exchanged<2, 1>(values))));
}

/// The vectors of eight experts that a token may choose from.
struct Vectors {
  std::array<std::uint8_t, kMostVectors> at;
  std::size_t count;
};

[[gnu::target("avx2")]] inline void choose_groups(const SelectRule& rule, const float* row, Vectors& vectors) {
  const std::size_t each = rule.experts / rule.groups / kLanes;
  const __m256 values = worth(rule, row);
  alignas(32) std::array<float, kLanes> of_group;
  _mm256_store_ps(of_group.data(), values);
  const __m256i most = _mm256_set1_epi32(static_cast<int>(rule.groups_per_token));
  const __m256i high = _mm256_cmpgt_epi32(most, ranks_of(values, 0, of_group.data(), kLanes));
  auto chosen = static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(high)));
  vectors.count = 0;
  for (; chosen != 0; chosen &= chosen - 1) {
    const auto first = static_cast<std::size_t>(std::countr_zero(chosen)) * each;
    for (std::size_t v = first; v < first + each; ++v) {
      vectors.at[vectors.count++] = static_cast<std::uint8_t>(v);
    }
  }
}

/// A number that at least k of the values looked at reach: the k-th of sixteen, each the largest of every other vector
/// in one lane.
[[gnu::target("avx2")]] inline float reached_by(const float* row, const Vectors& vectors, std::size_t k) {
  __m256 even = _mm256_set1_ps(kLowest);
  __m256 odd = even;
  for (std::size_t v = 0; v < vectors.count; ++v) {
    std::swap(even, odd);
    odd = _mm256_max_ps(odd, _mm256_loadu_ps(row + kLanes * vectors.at[v]));
  }
  const __m256i backwards = _mm256_set_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256 rising = _mm256_permutevar8x32_ps(in_falling_order(odd), backwards);
  alignas(32) std::array<float, kLanes> best;
  _mm256_store_ps(best.data(), merged(_mm256_max_ps(in_falling_order(even), rising)));
  return best[k - 1];
}

struct Candidates {
  std::array<float, kMostVectors * kLanes + kLanes> value;
  std::array<std::int32_t, kMostVectors * kLanes + kLanes> expert;
  std::size_t count;
};

[[gnu::target("avx2")]] inline void collect(const float* row, const Vectors& vectors, float least,
                                            Candidates& candidates) {
  const __m256 limit = _mm256_set1_ps(least);
  candidates.count = 0;
  for (std::size_t v = 0; v < vectors.count; ++v) {
    const std::size_t first = kLanes * vectors.at[v];
    const __m256 values = _mm256_loadu_ps(row + first);
    const auto high = static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(values, limit, _CMP_GE_OQ)));
    const auto* packed = reinterpret_cast<const __m128i*>(kPacked[high].data());
    const __m256i lanes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(packed));
    _mm256_storeu_ps(candidates.value.data() + candidates.count, _mm256_permutevar8x32_ps(values, lanes));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(candidates.expert.data() + candidates.count),
                        _mm256_add_epi32(lanes, _mm256_set1_epi32(static_cast<int>(first))));
    candidates.count += static_cast<std::size_t>(std::popcount(high));
  }
}

/// Puts the candidates, at least k, in falling order and keeps k.
[[gnu::target("avx2")]] inline void order(Candidates& candidates, std::size_t k, ExpertIndex* out) {
  constexpr std::size_t kFew = 2 * kLanes;
  const std::size_t count = candidates.count;
  if (count > kFew) {
    std::array<std::int32_t, kMostVectors * kLanes> place;
    for (std::size_t i = 0; i < count; ++i) {
      place[i] = static_cast<std::int32_t>(i);
    }
    std::partial_sort(place.begin(), place.begin() + k, place.begin() + count, [&](std::int32_t a, std::int32_t b) {
      return candidates.value[a] > candidates.value[b] || (candidates.value[a] == candidates.value[b] && a < b);
    });
    for (std::size_t i = 0; i < k; ++i) {
      out[i] = static_cast<ExpertIndex>(candidates.expert[place[i]]);
    }
    return;
  }
  alignas(32) std::array<std::int32_t, kFew> rank;
  for (const std::size_t from : {std::size_t{0}, kLanes}) {
    const __m256 values = _mm256_loadu_ps(candidates.value.data() + from);
    _mm256_store_si256(reinterpret_cast<__m256i*>(rank.data() + from),
                       ranks_of(values, static_cast<int>(from), candidates.value.data(), static_cast<int>(count)));
  }
  alignas(32) std::array<ExpertIndex, kFew> ordered;
  for (std::size_t i = 0; i < count; ++i) {
    ordered[static_cast<std::size_t>(rank[i])] = static_cast<ExpertIndex>(candidates.expert[i]);
  }
  std::copy_n(ordered.begin(), k, out);
}

[[gnu::target("avx2")]] void select_rows(const SelectRule& rule, const float* scores, std::size_t tokens,
                                         ExpertIndex* out) {
  Candidates candidates;
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
    collect(row, vectors, reached_by(row, vectors, rule.k), candidates);
    order(candidates, rule.k, out + token * rule.k);
  }
}

}  // namespace

bool available() { return __builtin_cpu_supports("avx2") != 0; }

bool can_select(const SelectRule& rule) {
  return available() && rule.experts % (rule.groups * kLanes) == 0 && rule.experts <= kMostVectors * kLanes &&
         rule.k <= kLanes && rule.groups <= kLanes;
}

void select(const SelectRule& rule, const float* scores, std::size_t tokens, ExpertIndex* out) {
  select_rows(rule, scores, tokens, out);
}

#else

bool available() { return false; }
bool can_select(const SelectRule&) { return false; }
void select(const SelectRule&, const float*, std::size_t, ExpertIndex*) { ensure(false, "no vectors of 8 lanes"); }

#endif

}  // namespace moesim::eight
