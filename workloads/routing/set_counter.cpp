#include "workloads/routing/set_counter.hpp"

#include <cstring>
#include <type_traits>

#include "workloads/routing/id_types.hpp"

namespace moesim {

namespace {

struct alignas(32) SetTable {
  std::array<std::array<std::uint8_t, 32>, SetCounter::kIds> of{};
};

/// The set of one id.
constexpr SetTable kSetOf = [] {
  SetTable table;
  for (std::size_t id = 0; id < SetCounter::kIds; ++id) {
    table.of[id][id % 32] = static_cast<std::uint8_t>(1U << id / 32);
  }
  return table;
}();

// Sets are passed by reference and everything is inlined, so that each kernel has its own instructions.

/// Adds bits a, b to `low` in every place; carries are `high`.
[[gnu::always_inline]] inline void add_bits(IdSet& high, IdSet& low, const IdSet& a, const IdSet& b) {
  const IdSet either = low ^ a;
  high = (low & a) | (either & b);
  low = either ^ b;
}

/// All bits of `count` ids together, of signed types as unsigned ones.
template <class T>
[[gnu::always_inline]] inline std::uint64_t bits_of(const std::byte* ids, std::size_t count) {
  constexpr std::size_t kInSet = sizeof(IdSet) / sizeof(T);
  IdSet sets[4] = {};
  std::size_t at = 0;
  for (; at + 4 * kInSet <= count; at += 4 * kInSet) {
    for (std::size_t i = 0; i < 4; ++i) {
      IdSet set;
      std::memcpy(&set, ids + (at + i * kInSet) * sizeof(T), sizeof set);
      sets[i] |= set;
    }
  }
  sets[0] |= sets[1] | sets[2] | sets[3];
  T bits[kInSet];
  std::memcpy(bits, &sets[0], sizeof bits);
  std::uint64_t all = 0;
  for (const T some : bits) {
    all |= some;
  }
  for (; at < count; ++at) {
    all |= ids::load<T>(ids, at);
  }
  return all;
}

/// By the low byte of each id, which is all of it where the set is of use.
template <class T, class K>
[[gnu::always_inline]] inline void set_of_row(const std::byte* row, K k, IdSet& set) {
  set = IdSet{};
  for (std::size_t slot = 0; slot < k; ++slot) {
    IdSet one;
    std::memcpy(&one, &kSetOf.of[static_cast<std::uint8_t>(ids::load<T>(row, slot))], sizeof one);
    set |= one;
  }
}

/// Lines of the next tokens, to be read while these are counted.
[[gnu::always_inline]] inline void ask_for(const std::byte* first, std::size_t bytes) {
  constexpr std::size_t kLine = 64;
  for (std::size_t at = 0; at < bytes; at += kLine) {
    __builtin_prefetch(first + at);
  }
}

template <class T, class K>
[[gnu::always_inline]] inline std::uint64_t bits_of_rows(const SetRows& rows, K k) {
  if (rows.chosen.size() == rows.layers) {
    return bits_of<T>(rows.first, SetCounter::kTokens * rows.layers * k);
  }
  std::uint64_t bits = 0;
  for (std::size_t token = 0; token < SetCounter::kTokens; ++token) {
    for (const std::size_t layer : rows.chosen) {
      bits |= bits_of<T>(rows.first + (token * rows.layers + layer) * k * sizeof(T), k);
    }
  }
  return bits;
}

template <class T, class K>
[[gnu::always_inline]] inline std::uint64_t add_rows(const SetRows& rows, K k, SetSums* sums) {
  const std::uint64_t bits = bits_of_rows<T>(rows, k);
  const std::size_t of_token = rows.layers * k * sizeof(T);
  const std::byte* next = rows.first + SetCounter::kTokens * of_token;
  for (const std::size_t layer : rows.chosen) {
    const std::byte* row = rows.first + layer * k * sizeof(T);
    IdSet* bit = (sums++)->bit;
    IdSet one = bit[0];
    IdSet two = bit[1];
    IdSet four = bit[2];
    IdSet fours[2];
    for (IdSet& carry : fours) {
      ask_for(next, 4 * k * sizeof(T));
      next += 4 * k * sizeof(T);  // evenly: only so many reads can be under way at once
      IdSet twos[2];
      for (IdSet& carry_of_two : twos) {
        IdSet a;
        IdSet b;
        set_of_row<T>(row, k, a);
        set_of_row<T>(row + of_token, k, b);
        row += 2 * of_token;
        add_bits(carry_of_two, one, a, b);
      }
      add_bits(carry, two, twos[0], twos[1]);
    }
    IdSet eight;
    add_bits(eight, four, fours[0], fours[1]);
    bit[0] = one;
    bit[1] = two;
    bit[2] = four;
    for (int i = 3; i < 8; ++i) {
      const IdSet before = bit[i];
      bit[i] = before ^ eight;
      eight &= before;
    }
  }
  return bits;
}

/// k as a constant, or as the rows say.
template <class K>
K slots(const SetRows& rows) {
  if constexpr (std::is_same_v<K, std::size_t>) {
    return rows.k;
  } else {
    return {};
  }
}

template <class T, class K>
std::uint64_t portable(const SetRows& rows, SetSums* sums) {
  return add_rows<T>(rows, slots<K>(rows), sums);
}

#if defined(__x86_64__)
template <class T, class K>
[[gnu::target("avx2")]] std::uint64_t wide(const SetRows& rows, SetSums* sums) {
  return add_rows<T>(rows, slots<K>(rows), sums);
}
#endif

}  // namespace

SetKernel portable_set_kernel(NpyType type, std::size_t k) {
  return ids::with_type(type, [&](auto zero) {
    using Bits = std::make_unsigned_t<decltype(zero)>;
    return ids::with_k(k, [](auto slots) -> SetKernel { return portable<Bits, decltype(slots)>; });
  });
}

#if defined(__x86_64__)
SetKernel wide_set_kernel(NpyType type, std::size_t k) {
  if (__builtin_cpu_supports("avx2") == 0) {
    return nullptr;
  }
  return ids::with_type(type, [&](auto zero) {
    using Bits = std::make_unsigned_t<decltype(zero)>;
    return ids::with_k(k, [](auto slots) -> SetKernel { return wide<Bits, decltype(slots)>; });
  });
}
#else
SetKernel wide_set_kernel(NpyType, std::size_t) { return nullptr; }
#endif

SetCounter::SetCounter(const IdArray& ids, std::span<const std::size_t> layers, SetKernel kernel)
    : rows_{nullptr, ids.layers, ids.k, layers},
      data_(ids.data.data()),
      token_bytes_(ids.layers * ids.k * size_of(ids.type)),
      kernel_(kernel),
      sums_(layers.size()),
      counts_(layers.size() * kIds) {}

std::uint64_t SetCounter::add(std::size_t token) {
  rows_.first = data_ + token * token_bytes_;
  return kernel_(rows_, sums_.data());
}

std::span<const std::uint8_t> SetCounter::take() {
  std::uint8_t* counts = counts_.data();
  for (SetSums& sums : sums_) {
    for (unsigned part = 0; part < 8; ++part, counts += sizeof(IdSet)) {
      IdSet count{};
      for (unsigned i = 0; i < 8; ++i) {
        constexpr std::uint64_t kOnes = 0x0101010101010101U;
        count |= (sums.bit[i] >> part & kOnes) << i;
      }
      std::memcpy(counts, &count, sizeof count);
    }
    sums = {};
  }
  return counts_;
}

}  // namespace moesim
