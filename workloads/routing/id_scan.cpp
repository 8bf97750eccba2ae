#include "workloads/routing/id_scan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>
#include <type_traits>

#include "sim/core/error.hpp"

namespace moesim {

namespace {

constexpr std::size_t kMostIds = std::size_t{1} << 16;  // ExpertIndex has 16 bits
constexpr std::size_t kWindows = 16;
/// Layers times experts that are counted: 64 layers of 32768 experts, a thousand of 2048.
constexpr std::size_t kMostTallied = std::size_t{1} << 21;

template <class T>
T load(const std::byte* data, std::size_t index) {
  T value;
  std::memcpy(&value, data + index * sizeof(T), sizeof(T));
  return value;
}

template <class T>
std::int64_t wide(T value) {
  if constexpr (std::is_same_v<T, std::uint64_t>) {
    constexpr auto kLargest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    return static_cast<std::int64_t>(std::min(value, kLargest));
  } else {
    return static_cast<std::int64_t>(value);
  }
}

/// Calls `action` with a value of the C++ type that `type` names.
template <class Action>
auto with_type(NpyType type, const Action& action) {
  switch (type) {
    case NpyType::kUint8:
      return action(std::uint8_t{});
    case NpyType::kInt8:
      return action(std::int8_t{});
    case NpyType::kUint16:
      return action(std::uint16_t{});
    case NpyType::kInt16:
      return action(std::int16_t{});
    case NpyType::kUint32:
      return action(std::uint32_t{});
    case NpyType::kInt32:
      return action(std::int32_t{});
    case NpyType::kUint64:
      return action(std::uint64_t{});
    case NpyType::kInt64:
      return action(std::int64_t{});
    case NpyType::kFloat32:
    case NpyType::kFloat64:
      break;
  }
  throw_internal("expert ids of a floating-point type", std::source_location::current());
}

/// Calls `action` with k as a constant where it is a common one, so that the loop over a row is unrolled.
template <class Action>
void with_k(std::size_t k, const Action& action) {
  switch (k) {
    case 1:
      return action(std::integral_constant<std::size_t, 1>{});
    case 2:
      return action(std::integral_constant<std::size_t, 2>{});
    case 4:
      return action(std::integral_constant<std::size_t, 4>{});
    case 6:
      return action(std::integral_constant<std::size_t, 6>{});
    case 8:
      return action(std::integral_constant<std::size_t, 8>{});
    default:
      return action(k);
  }
}

struct FillerCount {
  std::size_t count = 0;
  std::size_t token = 0;  ///< of the first
  std::size_t slot = 0;
};

/// Tokens of one part, block by block. A block stays in the cache between the pass that finds the smallest and the
/// largest id and the pass that counts, which therefore needs no look at the bounds.
class PartScan {
 public:
  PartScan(const IdArray& ids, std::span<const std::size_t> layers, std::optional<std::size_t> experts,
           std::string_view name)
      : ids_(ids), layers_(layers), name_(name), bound_(std::min(experts.value_or(kMostIds), kMostIds)) {
    fillers_.resize(layers.size());
    widen(experts ? bound_ : 1);
  }

  template <class T>
  void run(std::size_t first, std::size_t last) {
    constexpr std::size_t kBlockBytes = std::size_t{1} << 16;
    const std::size_t step = std::max<std::size_t>(1, kBlockBytes / (ids_.layers * ids_.k * sizeof(T)));
    for (std::size_t token = first; token < last; token += step) {
      block<T>(token, std::min(last, token + step));
    }
  }

  [[nodiscard]] std::size_t largest() const {
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
  [[nodiscard]] std::size_t duplicates() const { return duplicates_; }
  [[nodiscard]] bool counts() const { return counting_; }
  [[nodiscard]] std::uint32_t count(std::size_t layer, std::size_t expert) const {
    return expert < width_ ? counts_[layer * width_ + expert] : 0;
  }
  [[nodiscard]] const FillerCount& fillers(std::size_t layer) const { return fillers_[layer]; }

 private:
  template <class T>
  void block(std::size_t first, std::size_t last) {
    // No id is above all ids' bits together, which is less work to find than the largest.
    using Bits = std::make_unsigned_t<T>;
    Bits bits = 0;
    look<Bits>(first, last, [&](Bits id) { bits |= id; });
    // Of a narrow type, a negative id has no more bits than there may be experts.
    const bool negative = bits > static_cast<Bits>(std::numeric_limits<T>::max());
    if (counting_ && !negative && bits < bound_ && bits >= width_) {
      widen(std::min(std::bit_ceil(static_cast<std::size_t>(bits) + 1), kMostIds));
    }
    if (!counting_ || negative || bits >= bound_) {
      T low = 0;
      T high = 0;
      look<T>(first, last, [&](T id) {
        low = std::min(low, id);
        high = std::max(high, id);
      });
      if (wide(low) < 0 || wide(high) >= static_cast<std::int64_t>(bound_)) {
        carefully<T>(first, last);
        return;
      }
      raise_largest(static_cast<std::size_t>(high));
    }
    // No id is negative, so that signed and unsigned types are counted alike.
    with_k(ids_.k, [&](auto k) {
      counting_ ? tally<Bits>(first, last, k, counts_.data(), width_) : one_row<Bits>(first, last, k);
    });
  }

  /// Calls `action` with each id of the block.
  template <class T, class Action>
  void look(std::size_t first, std::size_t last, const Action& action) const {
    const auto each = [&](std::size_t from, std::size_t count) {
      const std::byte* data = ids_.data.data() + from * sizeof(T);
      for (std::size_t i = 0; i < count; ++i) {
        action(load<T>(data, i));
      }
    };
    if (layers_.size() == ids_.layers) {
      each(first * ids_.layers * ids_.k, (last - first) * ids_.layers * ids_.k);
      return;
    }
    for (std::size_t token = first; token < last; ++token) {
      for (const std::size_t layer : layers_) {
        each((token * ids_.layers + layer) * ids_.k, ids_.k);
      }
    }
  }

  template <class T, class K>
  void one_row(std::size_t first, std::size_t last, K k) {
    tally<T>(first, last, k, counts_.data(), 0);  // all layers into one row of the table, which nobody reads
  }

  /// Layer by layer, so that the counts of one layer stay at hand while the block's rows of it pass.
  template <class T, class K>
  void tally(std::size_t first, std::size_t last, K k, std::uint32_t* counts, std::size_t stride) {
    const std::size_t of_token = ids_.layers * k * sizeof(T);
    const bool packs = k <= sizeof(std::uint64_t) && width_ <= std::size_t{1} << 8;
    std::fill(stamps_.begin(), stamps_.end(), std::uint32_t{0});
    stamp_ = 0;
    for (const std::size_t layer : layers_) {
      const std::byte* rows = ids_.data.data() + first * of_token + layer * k * sizeof(T);
      duplicates_ += packs ? tally_packed<T>(rows, of_token, last - first, k, counts)
                           : tally_stamped<T>(rows, of_token, last - first, k, counts);
      counts += stride;
    }
  }

  /// Counts `tokens` rows that begin `of_token` bytes after one another; returns those that name an expert twice.
  template <class T, class K>
  std::size_t tally_stamped(const std::byte* row, std::size_t of_token, std::size_t tokens, K k, std::uint32_t* table) {
    std::uint32_t* stamps = stamps_.data();
    std::uint32_t stamp = stamp_;
    std::size_t duplicates = 0;
    for (std::size_t token = 0; token < tokens; ++token, row += of_token) {
      ++stamp;
      unsigned twice = 0;
      for (std::size_t slot = 0; slot < k; ++slot) {
        const auto id = static_cast<std::size_t>(load<T>(row, slot));
        ++table[id];
        twice |= stamps[id] == stamp ? 1U : 0U;
        stamps[id] = stamp;
      }
      duplicates += twice;
    }
    stamp_ = stamp;
    return duplicates;
  }

  /// The same where a row fits one word, a byte an id: two are equal where the word less itself turned by some bytes
  /// has a zero byte (the test for one: Warren, Hacker's Delight, 2nd edition, section 6-1).
  template <class T, class K>
  static std::size_t tally_packed(const std::byte* row, std::size_t of_token, std::size_t tokens, K k,
                                  std::uint32_t* table) {
    constexpr std::uint64_t kOnes = 0x0101010101010101U;
    const unsigned bits = 8 * static_cast<unsigned>(k);
    const std::uint64_t beyond = bits < 64 ? ~std::uint64_t{0} << (bits % 64) : 0;
    std::size_t duplicates = 0;
    for (std::size_t token = 0; token < tokens; ++token, row += of_token) {
      std::uint64_t word = 0;
      for (std::size_t slot = 0; slot < k; ++slot) {
        const auto id = static_cast<std::uint64_t>(load<T>(row, slot));
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

  /// The same id by id, for blocks that hold something else than ids in range.
  template <class T>
  void carefully(std::size_t first, std::size_t last) {
    std::fill(stamps_.begin(), stamps_.end(), std::uint32_t{0});
    std::uint32_t stamp = 0;
    for (std::size_t token = first; token < last; ++token) {
      for (std::size_t l = 0; l < layers_.size(); ++l) {
        unsigned twice = 0;
        ++stamp;
        for (std::size_t slot = 0; slot < ids_.k; ++slot) {
          const std::int64_t id = wide(load<T>(ids_.data.data(), (token * ids_.layers + layers_[l]) * ids_.k + slot));
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

  void raise_largest(std::size_t id) {
    largest_ = std::max(largest_, id);
    if (id >= width_) {
      widen(std::min(std::bit_ceil(id + 1), kMostIds));
    }
  }

  void widen(std::size_t width) {
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

  const IdArray& ids_;
  std::span<const std::size_t> layers_;
  std::string_view name_;
  std::size_t bound_;
  std::size_t width_ = 0;
  bool counting_ = true;
  std::vector<std::uint32_t> counts_;  ///< [layers, width]
  std::vector<std::uint32_t> stamps_;  ///< row of the block that named an expert last
  std::uint32_t stamp_ = 0;            ///< rows of the block so far
  std::vector<FillerCount> fillers_;   ///< per layer
  std::size_t largest_ = 0;            ///< of the ids that were not counted, or looked at one by one
  std::size_t duplicates_ = 0;
};

struct LayersInUse {
  std::vector<std::size_t> layers;
  std::uint64_t dropped = 0;
};

/// The layers that have experts. Throws ConfigError at the first −1 that means nothing.
LayersInUse layers_in_use(const IdArray& ids, std::span<const std::size_t> layers, std::span<const PartScan> parts,
                          std::size_t bound, Fillers meaning, std::string_view name) {
  LayersInUse used;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    FillerCount all;
    for (const PartScan& part : parts) {
      const FillerCount& fillers = part.fillers(l);
      if (all.count == 0) {
        all = fillers;
      } else {
        all.count += fillers.count;
      }
    }
    if (all.count == 0 || meaning == Fillers::kDropped) {
      used.layers.push_back(l);
      used.dropped += all.count;
    } else if (all.count < ids.tokens * ids.k || meaning == Fillers::kRefuse) {
      throw ConfigError({std::string(name), {}},
                        fmt::format("expected expert ids from 0 to {}, found -1 at token {}, layer {}, slot {} (a "
                                    "filler of an incomplete recording: cut these tokens off; choices that a router "
                                    "dropped are read for models with a capacity factor, and by trace info "
                                    "--dropped)",
                                    bound - 1, all.token, layers[l], all.slot));
    }
  }
  if (used.layers.empty() || used.dropped == used.layers.size() * ids.tokens * ids.k) {
    throw ConfigError({std::string(name), {}}, "expected expert ids, found nothing but -1");
  }
  return used;
}

}  // namespace

std::int64_t id_at(NpyType type, std::span<const std::byte> data, std::size_t index) {
  return with_type(type, [&](auto zero) { return wide(load<decltype(zero)>(data.data(), index)); });
}

IdScan scan_ids(const IdArray& ids, std::span<const std::size_t> layers, std::optional<std::size_t> experts,
                Fillers fillers, std::string_view name, const TaskPool& pool) {
  ensure(ids.tokens > 0 && !layers.empty() && ids.k > 0, "ids to look at");
  IdScan scan;
  scan.windows = std::min(kWindows, ids.tokens);
  // Parts short enough for counts of 32 bits.
  constexpr std::size_t kMostChoices = std::size_t{1} << 31;
  const std::size_t longest = std::max<std::size_t>(1, kMostChoices / ids.k);
  const std::size_t per_window = ids.tokens / scan.windows / longest + 1;
  std::vector<PartScan> parts;
  for (std::size_t part = 0; part < scan.windows * per_window; ++part) {
    parts.emplace_back(ids, layers, experts, name);
  }
  // Whole and remainder apart: the product of tokens and parts may not fit.
  const auto begin_of = [&](std::size_t part) {
    return ids.tokens / parts.size() * part + ids.tokens % parts.size() * part / parts.size();
  };
  pool.for_each_index(parts.size(), [&](std::size_t part) {
    with_type(ids.type, [&](auto zero) { parts[part].run<decltype(zero)>(begin_of(part), begin_of(part + 1)); });
  });

  const std::size_t bound = std::min(experts.value_or(kMostIds), kMostIds);
  const LayersInUse in_use = layers_in_use(ids, layers, parts, bound, fillers, name);
  const std::vector<std::size_t>& used = in_use.layers;
  scan.dropped = in_use.dropped;
  std::size_t largest = 0;
  bool counted = true;
  for (const PartScan& part : parts) {
    largest = std::max(largest, part.largest());
    counted = counted && part.counts();
    scan.rows_with_duplicates += part.duplicates();
  }
  scan.experts = experts ? *experts : std::max(largest + 1, ids.k);
  for (const std::size_t l : used) {
    scan.layers.push_back(layers[l]);
  }
  if (!counted || scan.experts * used.size() > kMostTallied) {
    return scan;
  }
  scan.counts.assign(scan.windows * used.size() * scan.experts, 0);
  for (std::size_t part = 0; part < parts.size(); ++part) {
    std::uint64_t* window = scan.counts.data() + part / per_window * used.size() * scan.experts;
    for (std::size_t l = 0; l < used.size(); ++l) {
      for (std::size_t e = 0; e < scan.experts; ++e) {
        window[l * scan.experts + e] += parts[part].count(used[l], e);
      }
    }
  }
  return scan;
}

}  // namespace moesim
