#include "workloads/routing/part_scan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>
#include <string>
#include <type_traits>
#include <utility>

#include "sim/core/error.hpp"
#include "workloads/routing/id_types.hpp"

namespace moesim {

namespace {

/// All bits of these ids together: no id is above them, which is less work to find than the largest.
template <class T>
T bits_of(const std::byte* data, std::size_t count) {
  T bits = 0;
  for (std::size_t i = 0; i < count; ++i) {
    bits |= ids::load<T>(data, i);
  }
  return bits;
}

/// Smallest and largest of these ids and 0.
template <class T>
std::pair<T, T> range_of(const std::byte* data, std::size_t count) {
  T low = 0;
  T high = 0;
  for (std::size_t i = 0; i < count; ++i) {
    low = std::min(low, ids::load<T>(data, i));
    high = std::max(high, ids::load<T>(data, i));
  }
  return {low, high};
}

/// Whether ids that have these bits together may be negative, of a signed type T.
template <class T>
bool negative(std::make_unsigned_t<T> bits) {
  return bits > static_cast<std::make_unsigned_t<T>>(std::numeric_limits<T>::max());
}

/// Rows of one layer, a token after another.
struct Rows {
  const std::byte* first;
  std::size_t of_token;  ///< bytes
  std::size_t tokens;
};

/// Counts rows into `table`; returns those that name an expert twice. A row fits one word, a byte an id: two are equal
/// where the word less itself turned by some bytes has a zero byte (the test for one: Warren, Hacker's Delight, 2nd
/// edition, section 6-1).
template <class T, class K>
std::size_t tally_packed(const Rows& rows, K k, std::uint32_t* table) {
  constexpr std::uint64_t kOnes = 0x0101010101010101U;
  const unsigned bits = 8 * static_cast<unsigned>(k);
  const std::uint64_t beyond = bits < 64 ? ~std::uint64_t{0} << (bits % 64) : 0;
  std::size_t duplicates = 0;
  const std::byte* row = rows.first;
  for (std::size_t token = 0; token < rows.tokens; ++token, row += rows.of_token) {
    std::uint64_t word = 0;
    for (std::size_t slot = 0; slot < k; ++slot) {
      const auto id = static_cast<std::uint64_t>(ids::load<T>(row, slot));
      ++table[id];
      word |= id << 8 * slot;
    }
    std::uint64_t zeros = 0;
    for (unsigned turn = 8; 2 * turn <= bits; turn += 8) {
      const std::uint64_t difference = (word ^ (word >> turn | word << (bits - turn))) | beyond;
      zeros |= (difference - kOnes) & ~difference;
    }
    duplicates += (zeros & kOnes << 7) != 0 ? 1 : 0;
  }
  return duplicates;
}

/// The same for all others: `stamps` are, for each expert, the row that named it last, counted on from `stamp`.
template <class T, class K>
std::size_t tally_stamped(const Rows& rows, K k, std::uint32_t* table, std::uint32_t* stamps, std::uint32_t stamp) {
  std::size_t duplicates = 0;
  const std::byte* row = rows.first;
  for (std::size_t token = 0; token < rows.tokens; ++token, row += rows.of_token) {
    ++stamp;
    unsigned twice = 0;
    for (std::size_t slot = 0; slot < k; ++slot) {
      const auto id = static_cast<std::size_t>(ids::load<T>(row, slot));
      ++table[id];
      twice |= stamps[id] == stamp ? 1U : 0U;
      stamps[id] = stamp;
    }
    duplicates += twice;
  }
  return duplicates;
}

}  // namespace

PartScan::PartScan(const IdArray& ids, std::span<const std::size_t> layers, std::optional<std::size_t> experts,
                   std::string_view name)
    : ids_(ids), layers_(layers), name_(name), bound_(std::min(experts.value_or(kMostIds), kMostIds)) {
  fillers_.resize(layers.size());
  widen(experts ? bound_ : 1);
  // A row of one id is no more work to count than to make a set of.
  if (const SetKernel kernel = wide_set_kernel(ids.type, ids.k); kernel != nullptr && ids.k > 1) {
    sets_.emplace(ids, layers, kernel);
  }
}

void PartScan::run(std::size_t first, std::size_t last) {
  ids::with_type(ids_.type, [&](auto zero) { run<decltype(zero)>(first, last); });
}

template <class T>
void PartScan::run(std::size_t first, std::size_t last) {
  while (first < last) {
    const std::size_t done = by_sets<T>(first, last);
    if (done == 0) {
      blocks<T>(first, last);
      return;
    }
    first += done;
  }
}

std::size_t PartScan::largest() const {
  std::size_t largest = largest_;
  for (std::size_t layer = 0; counting_ && layer < layers_.size(); ++layer) {
    for (std::size_t e = width_; e > largest + 1; --e) {
      if (counts_[layer * width_ + e - 1] != 0) {
        largest = e - 1;
      }
    }
  }
  return largest;
}

/// Counts as many tokens from `first` as sets hold, by sets if they can be, and returns how many: none where sets are
/// of no use.
template <class T>
std::size_t PartScan::by_sets(std::size_t first, std::size_t last) {
  if (!sets_ || !counting_ || last - first < SetCounter::kTokens) {
    return 0;
  }
  std::size_t token = first;
  std::uint64_t all = 0;
  for (last = std::min(last, first + SetCounter::kMostTokens); token + SetCounter::kTokens <= last;) {
    all |= sets_->add(token);
    token += SetCounter::kTokens;
  }
  const bool ids = all < SetCounter::kIds && !negative<T>(static_cast<std::make_unsigned_t<T>>(all));
  if (ids && all >= width_ && width_ < bound_) {
    widen(std::min(std::bit_ceil(static_cast<std::size_t>(all) + 1), bound_));
  }
  if (take_sets(token - first, ids ? Sums::kOfIds : Sums::kOfOthers)) {
    ++by_sets_;
    return token - first;
  }
  blocks<T>(first, token);
  if (++by_blocks_ > by_sets_) {
    sets_.reset();  // a recording with fillers, duplicates or more experts has them all along
  }
  return token - first;
}

/// Adds what the sets counted of so many tokens. False, and nothing added, where that is not k in range for each row:
/// some are out of range, or named twice.
bool PartScan::take_sets(std::size_t tokens, Sums sums) {
  const std::span<const std::uint8_t> counted = sets_->take();
  if (sums == Sums::kOfOthers) {
    return false;
  }
  const std::size_t width = std::min(width_, SetCounter::kIds);
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const auto row = counted.subspan(l * SetCounter::kIds, width);
    if (std::accumulate(row.begin(), row.end(), std::uint32_t{0}) != tokens * ids_.k) {
      return false;
    }
  }
  for (std::size_t l = 0; counting_ && l < layers_.size(); ++l) {
    const auto row = counted.subspan(l * SetCounter::kIds, width);
    std::transform(row.begin(), row.end(), counts_.data() + l * width_, counts_.data() + l * width_,
                   [](std::uint32_t more, std::uint32_t count) { return count + more; });
  }
  return counting_;
}

/// Counts tokens id by id. A block stays in the cache between the pass that looks for the bounds and the pass that
/// counts.
template <class T>
void PartScan::blocks(std::size_t first, std::size_t last) {
  constexpr std::size_t kBlockBytes = std::size_t{1} << 16;
  const std::size_t step = std::max<std::size_t>(1, kBlockBytes / (ids_.layers * ids_.k * sizeof(T)));
  for (; first < last; first += std::min(step, last - first)) {
    block<T>(first, std::min(first + step, last));
  }
}

template <class T>
void PartScan::block(std::size_t first, std::size_t last) {
  using Bits = std::make_unsigned_t<T>;
  const Bits bits = all_bits<Bits>(first, last);
  // Of a narrow type, a negative id has no more bits than there may be experts.
  if (counting_ && !negative<T>(bits) && bits < bound_ && bits >= width_) {
    widen(std::min(std::bit_ceil(static_cast<std::size_t>(bits) + 1), kMostIds));
  }
  if (!counting_ || negative<T>(bits) || bits >= bound_) {
    T low = 0;
    T high = 0;
    each_run<T>(first, last, [&](const std::byte* data, std::size_t count) {
      const auto [lowest, highest] = range_of<T>(data, count);
      low = std::min(low, lowest);
      high = std::max(high, highest);
    });
    if (ids::widened(low) < 0 || ids::widened(high) >= static_cast<std::int64_t>(bound_)) {
      carefully<T>(first, last);
      return;
    }
    raise_largest(static_cast<std::size_t>(high));
  }
  // No id is negative, so that signed and unsigned types are counted alike.
  ids::with_k(ids_.k, [&](auto k) { tally<Bits>(first, last, k); });
}

/// Calls `action` with each stretch of these tokens' ids that follow one another.
template <class T, class Action>
void PartScan::each_run(std::size_t first, std::size_t last, const Action& action) const {
  const std::size_t row = ids_.k * sizeof(T);
  const std::byte* data = ids_.data.data() + first * ids_.layers * row;
  if (layers_.size() == ids_.layers) {
    action(data, (last - first) * ids_.layers * ids_.k);
    return;
  }
  for (std::size_t token = first; token < last; ++token, data += ids_.layers * row) {
    for (const std::size_t layer : layers_) {
      action(data + layer * row, ids_.k);
    }
  }
}

template <class T>
T PartScan::all_bits(std::size_t first, std::size_t last) const {
  T bits = 0;
  each_run<T>(first, last, [&](const std::byte* data, std::size_t count) { bits |= bits_of<T>(data, count); });
  return bits;
}

/// Layer by layer, so that the counts of one layer stay at hand while the block's rows of it pass.
template <class T, class K>
void PartScan::tally(std::size_t first, std::size_t last, K k) {
  const std::size_t of_token = ids_.layers * k * sizeof(T);
  const bool packs = k <= sizeof(std::uint64_t) && width_ <= std::size_t{1} << 8;
  std::fill(stamps_.begin(), stamps_.end(), std::uint32_t{0});
  std::uint32_t stamp = 0;
  std::uint32_t* table = counts_.data();
  for (const std::size_t layer : layers_) {
    const Rows rows{ids_.data.data() + first * of_token + layer * k * sizeof(T), of_token, last - first};
    duplicates_ += packs ? tally_packed<T>(rows, k, table) : tally_stamped<T>(rows, k, table, stamps_.data(), stamp);
    stamp += static_cast<std::uint32_t>(last - first);
    table += counting_ ? width_ : 0;
  }
}

/// The same id by id, for tokens that hold something else than ids in range.
template <class T>
void PartScan::carefully(std::size_t first, std::size_t last) {
  std::fill(stamps_.begin(), stamps_.end(), std::uint32_t{0});
  std::uint32_t stamp = 0;
  for (std::size_t token = first; token < last; ++token) {
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      unsigned twice = 0;
      ++stamp;
      for (std::size_t slot = 0; slot < ids_.k; ++slot) {
        const std::int64_t id =
            ids::widened(ids::load<T>(ids_.data.data(), (token * ids_.layers + layers_[l]) * ids_.k + slot));
        if (id == -1) {
          if (fillers_[l].count++ == 0) {
            fillers_[l].token = token;
            fillers_[l].slot = slot;
          }
          continue;
        }
        if (id < 0 || id >= static_cast<std::int64_t>(bound_)) {
          throw ConfigError({std::string(name_), {}},
                            fmt::format("expected expert ids from 0 to {}, found {} at token {}, layer {}, slot {}",
                                        bound_ - 1, id, token, layers_[l], slot));
        }
        const auto expert = static_cast<std::size_t>(id);
        raise_largest(expert);
        counts_[(counting_ ? l * width_ : 0) + expert] += 1;
        twice |= stamps_[expert] == stamp ? 1U : 0U;
        stamps_[expert] = stamp;
      }
      duplicates_ += twice;
    }
  }
}

void PartScan::raise_largest(std::size_t id) {
  largest_ = std::max(largest_, id);
  if (id >= width_) {
    widen(std::min(std::bit_ceil(id + 1), kMostIds));
  }
}

void PartScan::widen(std::size_t width) {
  largest_ = largest();  // what was counted may be given up here
  counting_ = width * layers_.size() <= kMostTallied;
  std::vector<std::uint32_t> wider(counting_ ? layers_.size() * width : width, 0);
  for (std::size_t layer = 0; counting_ && width_ > 0 && layer < layers_.size(); ++layer) {
    std::copy_n(counts_.begin() + static_cast<std::ptrdiff_t>(layer * width_), width_,
                wider.begin() + static_cast<std::ptrdiff_t>(layer * width));
  }
  counts_ = std::move(wider);
  stamps_.resize(width, 0);
  width_ = width;
}

}  // namespace moesim
