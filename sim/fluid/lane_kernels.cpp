#include "sim/fluid/lane_kernels.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace moesim::fluid {
namespace {

// One source for all machines, so that all do the same operations in the same order: a pack is a vector of eight, or
// two of four.
using Four = float __attribute__((vector_size(4 * sizeof(float))));
using Eight = float __attribute__((vector_size(8 * sizeof(float))));
template <class Vector>
using Mask = decltype(Vector{} < Vector{});
template <class Vector>
constexpr std::size_t kWidth = sizeof(Vector) / sizeof(float);
template <class Vector>
constexpr std::size_t kParts = kLanes / kWidth<Vector>;

template <class Vector>
[[gnu::always_inline]] inline void load(Vector& to, const float* from) {
  std::memcpy(&to, from, sizeof(Vector));
}
template <class Vector>
[[gnu::always_inline]] inline void store(float* to, const Vector& from) {
  std::memcpy(to, &from, sizeof(Vector));
}
template <class Vector>
[[gnu::always_inline]] inline void least_of(Vector& a, const Vector& b) {
  a = b < a ? b : a;
}
template <class Vector>
[[gnu::always_inline]] inline bool any(const Mask<Vector>& mask) {
  std::array<std::uint64_t, sizeof(Vector) / sizeof(std::uint64_t)> words;
  std::memcpy(words.data(), &mask, sizeof(Vector));
  std::uint64_t all = 0;
  for (const std::uint64_t word : words) {
    all |= word;
  }
  return all != 0;
}

// The loops take packs and tails by value: what they store cannot be thought to change where they look.

/// Sums in as many lanes as a pack has.
template <class Vector>
struct LaneSums {
  Vector elsewhere[kParts<Vector>] = {};
  Vector here[kParts<Vector>] = {};

  [[gnu::always_inline]] void add(std::size_t part, const Vector& rate, const Mask<Vector>& held) {
    const Vector zero = {};
    const Vector one = zero + 1.0F;
    elsewhere[part] += held ? zero : rate;
    here[part] += held ? one : zero;
  }
  [[gnu::always_inline]] static double total(const Vector* parts) {
    float lane[kLanes];
    std::memcpy(lane, parts, sizeof lane);
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
  }
  [[gnu::always_inline]] Sums total() const { return {total(elsewhere), total(here)}; }
};

template <class Vector>
[[gnu::always_inline]] inline Sums limits(const Packs packs, const float* tail_level, float inverse_length, float least,
                                          float own) {
  const Vector zero = {};
  const Vector lowest = zero + least;
  const Vector owns = zero + own;
  LaneSums<Vector> sums;
  for (std::size_t i = 0; i < packs.count; ++i) {
    const float* const level = tail_level + kLanes * packs.tails[i];
    for (std::size_t part = 0; part < kParts<Vector>; ++part) {
      const std::size_t at = part * kWidth<Vector>;
      Vector limit;
      Vector levels;
      load(limit, packs.left + kLanes * i + at);
      load(levels, level + at);
      limit *= inverse_length;
      least_of(limit, levels);
      least_of(limit, lowest);
      store(packs.limit + kLanes * i + at, limit);
      sums.add(part, limit, limit >= owns);
    }
  }
  return sums.total();
}

template <class Vector>
[[gnu::always_inline]] inline Sums sums(const float* limit, std::size_t count, float own) {
  const Vector owns = Vector{} + own;
  LaneSums<Vector> sums;
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t part = 0; part < kParts<Vector>; ++part) {
      Vector limits;
      load(limits, limit + kLanes * i + part * kWidth<Vector>);
      sums.add(part, limits, limits >= owns);
    }
  }
  return sums.total();
}

template <class Vector>
[[gnu::always_inline]] inline Sums scatter(const Packs packs, const Tails tails, float least, float own) {
  const Vector zero = {};
  const Vector one = zero + 1.0F;
  const Vector owns = zero + own;
  const Vector lowest = zero + least;
  LaneSums<Vector> sums;
  for (std::size_t i = 0; i < packs.count; ++i) {
    for (std::size_t part = 0; part < kParts<Vector>; ++part) {
      const std::size_t at = part * kWidth<Vector>;
      const std::size_t tail = kLanes * packs.tails[i] + at;
      Vector rate;
      Vector value;
      load(rate, packs.limit + kLanes * i + at);
      least_of(rate, owns);
      sums.add(part, rate, rate >= lowest);
      load(value, tails.level + tail);
      const Mask<Vector> held = rate >= value;
      load(value, tails.elsewhere + tail);
      store(tails.elsewhere + tail, value + (held ? zero : rate));
      load(value, tails.here + tail);
      store(tails.here + tail, value + (held ? one : zero));
    }
  }
  return sums.total();
}

template <class Vector>
[[gnu::always_inline]] inline std::size_t ends(const Packs packs, const float* tail_level, float most, float length) {
  const Vector zero = {};
  const Vector mosts = zero + most;
  Mask<Vector> count[kParts<Vector>] = {};
  for (std::size_t i = 0; i < packs.count; ++i) {
    for (std::size_t part = 0; part < kParts<Vector>; ++part) {
      const std::size_t at = part * kWidth<Vector>;
      Vector left;
      Vector rate;
      load(left, packs.left + kLanes * i + at);
      load(rate, tail_level + kLanes * packs.tails[i] + at);
      least_of(rate, mosts);
      count[part] -= (left > zero) & (left <= rate * length);  // a true lane is -1
    }
  }
  std::size_t all = 0;
  for (std::size_t part = 0; part < kParts<Vector>; ++part) {
    for (std::size_t lane = 0; lane < kWidth<Vector>; ++lane) {
      all += static_cast<std::size_t>(count[part][lane]);
    }
  }
  return all;
}

template <class Vector>
[[gnu::always_inline]] inline std::size_t advance(const Packs packs, const float* tail_level, float most, float length,
                                                  float same, std::uint32_t* places, float* had) {
  const Vector zero = {};
  const Vector mosts = zero + most;
  std::size_t through = 0;
  for (std::size_t i = 0; i < packs.count; ++i) {
    for (std::size_t part = 0; part < kParts<Vector>; ++part) {
      const std::size_t at = part * kWidth<Vector>;
      Vector before;
      Vector after;
      load(before, packs.left + kLanes * i + at);
      load(after, tail_level + kLanes * packs.tails[i] + at);
      least_of(after, mosts);
      after = before - after * length;
      const Mask<Vector> done = after <= before * same;
      store(packs.left + kLanes * i + at, done ? zero : after);
      const Mask<Vector> ended = done & (before > zero);
      if (any<Vector>(ended)) {
        for (std::size_t lane = 0; lane < kWidth<Vector>; ++lane) {
          if (ended[lane] != 0) {
            places[through] = static_cast<std::uint32_t>(kLanes * i + at + lane);
            had[through++] = before[lane];
          }
        }
      }
    }
  }
  return through;
}

Sums plain_limits(const Packs& packs, const float* tail_level, float inverse_length, float least, float own) {
  return limits<Four>(packs, tail_level, inverse_length, least, own);
}
Sums plain_sums(const float* limit, std::size_t count, float own) { return sums<Four>(limit, count, own); }
Sums plain_scatter(const Packs& packs, const Tails& tails, float least, float own) {
  return scatter<Four>(packs, tails, least, own);
}
std::size_t plain_ends(const Packs& packs, const float* tail_level, float most, float length) {
  return ends<Four>(packs, tail_level, most, length);
}
std::size_t plain_advance(const Packs& packs, const float* tail_level, float most, float length, float same,
                          std::uint32_t* places, float* had) {
  return advance<Four>(packs, tail_level, most, length, same, places, had);
}
constexpr LaneKernels kFourLanes{plain_limits, plain_sums, plain_scatter, plain_ends, plain_advance};

#if defined(__x86_64__)
[[gnu::target("avx2")]] Sums wide_limits(const Packs& packs, const float* tail_level, float inverse_length, float least,
                                         float own) {
  return limits<Eight>(packs, tail_level, inverse_length, least, own);
}
[[gnu::target("avx2")]] Sums wide_sums(const float* limit, std::size_t count, float own) {
  return sums<Eight>(limit, count, own);
}
[[gnu::target("avx2")]] Sums wide_scatter(const Packs& packs, const Tails& tails, float least, float own) {
  return scatter<Eight>(packs, tails, least, own);
}
[[gnu::target("avx2")]] std::size_t wide_ends(const Packs& packs, const float* tail_level, float most, float length) {
  return ends<Eight>(packs, tail_level, most, length);
}
[[gnu::target("avx2")]] std::size_t wide_advance(const Packs& packs, const float* tail_level, float most, float length,
                                                 float same, std::uint32_t* places, float* had) {
  return advance<Eight>(packs, tail_level, most, length, same, places, had);
}
constexpr LaneKernels kEightLanes{wide_limits, wide_sums, wide_scatter, wide_ends, wide_advance};
#endif

}  // namespace

std::vector<const LaneKernels*> all_lane_kernels() {
  std::vector<const LaneKernels*> kernels{&kFourLanes};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") != 0) {
    kernels.push_back(&kEightLanes);
  }
#endif
  return kernels;
}

const LaneKernels& lane_kernels() {
  static const LaneKernels& kBest = *all_lane_kernels().back();
  return kBest;
}

}  // namespace moesim::fluid
