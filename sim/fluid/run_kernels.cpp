#include "sim/fluid/run_kernels.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

namespace moesim::fluid {
namespace {

constexpr std::size_t kRunLanes = 8;
using Lanes = double __attribute__((vector_size(kRunLanes * sizeof(double))));
using Mask = long long __attribute__((vector_size(kRunLanes * sizeof(double))));

// The same source for all machines, so that all do the same operations in the same order; compiled twice, for eight
// lanes in one register and for what every x86-64 has.
[[gnu::always_inline]] inline void load(Lanes& to, const double* from) { std::memcpy(&to, from, sizeof(Lanes)); }
[[gnu::always_inline]] inline void store(double* to, const Lanes& from) { std::memcpy(to, &from, sizeof(Lanes)); }
[[gnu::always_inline]] inline void least(Lanes& a, const Lanes& b) { a = b < a ? b : a; }
[[gnu::always_inline]] inline double sum(const Lanes& v) {
  return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
}

[[gnu::always_inline]] inline void limits(const RunRow& row, double inverse_length) {
  const Lanes zero = {};
  const Lanes never = zero + kNoLimit;
  std::size_t i = 0;
  if (inverse_length > 0.0) {
    for (; i + kRunLanes <= row.flows; i += kRunLanes) {
      Lanes left;
      load(left, row.left + i);
      store(row.limit + i, left * inverse_length);
    }
    for (; i < row.flows; ++i) {
      row.limit[i] = row.left[i] * inverse_length;
    }
  } else {
    for (; i + kRunLanes <= row.flows; i += kRunLanes) {
      Lanes left;
      load(left, row.left + i);
      store(row.limit + i, left > zero ? never : zero);
    }
    for (; i < row.flows; ++i) {
      row.limit[i] = row.left[i] > 0.0 ? kNoLimit : 0.0;
    }
  }
  for (const Run& run : row.runs) {
    const RunLink* const links = row.links + run.first_link;
    double* const limit = row.limit + run.begin;
    std::size_t f = 0;
    for (; f + kRunLanes <= run.count; f += kRunLanes) {
      Lanes lowest;
      load(lowest, limit + f);
      for (std::size_t k = 0; k < row.others; ++k) {
        Lanes level;
        if (links[k].stride == 0) {
          level = zero + row.level[links[k].link];
        } else {
          load(level, row.level + links[k].link + f);
        }
        least(lowest, level);
      }
      store(limit + f, lowest);
    }
    for (; f < run.count; ++f) {
      for (std::size_t k = 0; k < row.others; ++k) {
        limit[f] = std::min(limit[f], row.level[links[k].link + f * links[k].stride]);
      }
    }
  }
}

[[gnu::always_inline]] inline Sums sums(const double* limit, std::size_t flows, double level) {
  const Lanes zero = {};
  const Lanes one = zero + 1.0;
  const Lanes levels = zero + level;
  Lanes elsewhere = {};
  Lanes here = {};
  std::size_t i = 0;
  for (; i + kRunLanes <= flows; i += kRunLanes) {
    Lanes rate;
    load(rate, limit + i);
    const Mask held = rate >= levels;
    elsewhere += held ? zero : rate;
    here += held ? one : zero;
  }
  Sums all{sum(elsewhere), sum(here)};
  for (; i < flows; ++i) {
    const bool held = limit[i] >= level;
    all.held_elsewhere += held ? 0.0 : limit[i];
    all.held_here += held ? 1.0 : 0.0;
  }
  return all;
}

[[gnu::always_inline]] inline void scatter(const RunRow& row, double own) {
  const Lanes zero = {};
  const Lanes one = zero + 1.0;
  const Lanes owns = zero + own;
  for (const Run& run : row.runs) {
    const double* const limit = row.limit + run.begin;
    for (std::size_t k = 0; k < row.others; ++k) {
      const RunLink link = row.links[run.first_link + k];
      const double* const level = row.level + link.link;
      double* const elsewhere = row.elsewhere + link.link;
      double* const here = row.here + link.link;
      std::size_t f = 0;
      if (link.stride == 0) {
        const Lanes levels = zero + *level;
        Lanes sum_elsewhere = {};
        Lanes sum_here = {};
        for (; f + kRunLanes <= run.count; f += kRunLanes) {
          Lanes rate;
          load(rate, limit + f);
          least(rate, owns);
          const Mask held = levels <= rate;
          sum_elsewhere += held ? zero : rate;
          sum_here += held ? one : zero;
        }
        *elsewhere += sum(sum_elsewhere);
        *here += sum(sum_here);
      } else {
        for (; f + kRunLanes <= run.count; f += kRunLanes) {
          Lanes rate;
          Lanes levels;
          Lanes before;
          load(rate, limit + f);
          least(rate, owns);
          load(levels, level + f);
          const Mask held = levels <= rate;
          load(before, elsewhere + f);
          store(elsewhere + f, before + (held ? zero : rate));
          load(before, here + f);
          store(here + f, before + (held ? one : zero));
        }
      }
      for (; f < run.count; ++f) {
        const double rate = std::min(limit[f], own);
        const std::size_t at = f * link.stride;
        const bool held = level[at] <= rate;
        elsewhere[at] += held ? 0.0 : rate;
        here[at] += held ? 1.0 : 0.0;
      }
    }
  }
}

#if defined(__x86_64__)
[[gnu::target("avx512f,avx512dq")]] void wide_limits(const RunRow& row, double inverse_length) {
  limits(row, inverse_length);
}
[[gnu::target("avx512f,avx512dq")]] Sums wide_sums(const double* limit, std::size_t flows, double level) {
  return sums(limit, flows, level);
}
[[gnu::target("avx512f,avx512dq")]] void wide_scatter(const RunRow& row, double own) { scatter(row, own); }
#endif
void plain_limits(const RunRow& row, double inverse_length) { limits(row, inverse_length); }
Sums plain_sums(const double* limit, std::size_t flows, double level) { return sums(limit, flows, level); }
void plain_scatter(const RunRow& row, double own) { scatter(row, own); }

constexpr RunKernels kPortableRuns{plain_limits, plain_sums, plain_scatter};

}  // namespace

const RunKernels& portable_run_kernels() { return kPortableRuns; }

const RunKernels& run_kernels() {
#if defined(__x86_64__)
  static constexpr RunKernels kWide{wide_limits, wide_sums, wide_scatter};
  if (__builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512dq") != 0) {
    return kWide;
  }
#endif
  return kPortableRuns;
}

}  // namespace moesim::fluid
