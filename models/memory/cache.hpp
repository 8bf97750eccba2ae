#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "models/memory/memory.hpp"
#include "sim/core/quantity.hpp"

namespace moesim {

/// What a layer caches per token on one rank, and for how many tokens at most (absent: all).
struct LayerCache {
  Bytes per_token;
  std::optional<std::int64_t> window;
};
/// Of the mixer alone. Encoders, recurrent layers: nothing.
LayerCache cache_of(const Layer& layer, DataType kv, int tensor_parallel, KvSharding sharding);
/// The model's layers, and that of each module that drafts.
std::vector<const Layer*> cached_layers(const MemoryRequest& request);
/// Of an encoder's output, per encoder token.
Bytes cross_cache_of(const Layer& layer, DataType kv, int tensor_parallel, KvSharding sharding);

}  // namespace moesim
