#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "sim/core/task_pool.hpp"
#include "workloads/routing/npy.hpp"

namespace moesim {

/// Expert ids [tokens, layers, k] of an integer type as they lie in a file.
struct IdArray {
  std::span<const std::byte> data;
  NpyType type = NpyType::kUint8;
  std::size_t tokens = 0;
  std::size_t layers = 0;
  std::size_t k = 0;
};

/// What a pass over all ids found.
struct IdScan {
  std::size_t experts = 0;               ///< as given; else the largest id + 1, or k where that is more
  std::vector<std::size_t> layers;       ///< of the array, without those that hold nothing but −1
  std::size_t windows = 0;               ///< equal stretches of tokens, one after the other
  std::vector<std::uint64_t> counts;     ///< [windows, layers, experts]; empty where that would be absurdly large
  std::uint64_t dropped = 0;             ///< −1 that stand for dropped choices
  std::size_t rows_with_duplicates = 0;  ///< rows (k ids of one token in one layer) that name an expert twice
};

/// What −1 in place of an expert means.
enum class Fillers {
  kRefuse,       ///< a fault: a recording that is not complete
  kEmptyLayers,  ///< the same, but recorders also fill layers that have no experts: those are left out
  kDropped,      ///< a choice that found no room: kNoExpert
};

/// Looks at every id of `layers` once: all must be in 0 .. experts−1, and are counted. The same result with any number
/// of threads. Throws ConfigError naming `name`, token, layer and slot of an id that is out of range, −1 included
/// unless `fillers` says what it means, and where there is nothing but −1.
IdScan scan_ids(const IdArray& ids, std::span<const std::size_t> layers, std::optional<std::size_t> experts,
                Fillers fillers, std::string_view name, const TaskPool& pool);

/// One id, whatever the type; what does not fit int64 is its largest value.
std::int64_t id_at(NpyType type, std::span<const std::byte> data, std::size_t index);

}  // namespace moesim
