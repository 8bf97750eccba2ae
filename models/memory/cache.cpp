#include "models/memory/cache.hpp"

#include <algorithm>
#include <variant>

#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"

namespace moesim {
namespace {

/// g KV heads of width d, b bytes per element: 2·g·d·b per token and layer (keys and values). TP ranks split the heads
/// down to one each and hold copies beyond that (aiconfigurator, vLLM), or split the tokens.
Bytes grouped_query_cache(const GroupedQueryAttention& a, DataType kv, int tensor_parallel, KvSharding sharding) {
  const Bytes head = 2.0 * a.head_dim * element_size(kv);
  const double share = static_cast<double>(a.kv_heads) / tensor_parallel;
  return sharding == KvSharding::kTokens ? share * head : std::max(1.0, share) * head;
}

/// (r_kv + rope)·b per token and layer (DeepSeek-V2, arXiv 2405.04434, section 2.1.4); no heads to split. An indexer
/// keeps a key of its own beside it, in fp8 with an fp32 scale for every 128 elements (SGLang's
/// index_k_with_scale_buffer, vLLM's DeepseekV32IndexerCache).
Bytes latent_cache(const LatentAttention& a, DataType kv, int tensor_parallel, KvSharding sharding) {
  const Bytes index_key = a.indexer ? a.indexer->head_dim * activation_element_size(DataType::kFp8Block) : Bytes{};
  const Bytes whole = static_cast<double>(a.kv_lora_rank + a.qk_rope_head_dim) * element_size(kv) + index_key;
  return sharding == KvSharding::kTokens ? whole / tensor_parallel : whole;
}

std::int64_t whole_blocks(std::int64_t tokens, std::int64_t block) { return (tokens + block - 1) / block * block; }

}  // namespace

LayerCache cache_of(const Layer& layer, DataType kv, int tensor_parallel, KvSharding sharding) {
  LayerCache cache;
  if (layer.stack == Stack::kEncoder) {
    return cache;  // encoders see the whole input at once
  }
  if (const auto* grouped = std::get_if<GroupedQueryAttention>(&layer.block->mixer)) {
    cache.per_token = grouped_query_cache(*grouped, kv, tensor_parallel, sharding);
    cache.window = grouped->window;
  } else if (const auto* latent = std::get_if<LatentAttention>(&layer.block->mixer)) {
    cache.per_token = latent_cache(*latent, kv, tensor_parallel, sharding);
  }
  return cache;
}

int draft_modules(const MemoryRequest& request) {
  return std::min(request.draft_tokens, request.model.architecture().multi_token_prediction_layers);
}

std::vector<const Layer*> cached_layers(const MemoryRequest& request) {
  std::vector<const Layer*> layers;
  for (const Layer& layer : request.model.layers()) {
    layers.push_back(&layer);
  }
  layers.insert(layers.end(), static_cast<std::size_t>(draft_modules(request)), draft_layer(request.model));
  return layers;
}

Bytes cross_cache_of(const Layer& layer, DataType kv, int tensor_parallel, KvSharding sharding) {
  const auto& cross = layer.block->cross_attention;
  return cross ? grouped_query_cache(*cross, kv, tensor_parallel, sharding) : Bytes{};
}

Bytes kv_bytes_per_token(const Model& model, DataType kv, int tensor_parallel, KvSharding sharding) {
  Bytes sum;
  for (const Layer& layer : model.layers()) {
    sum += cache_of(layer, kv, tensor_parallel, sharding).per_token;
  }
  return sum;
}

/// Σ over layers of per_token·⌈min(tokens, window)⌉ in whole pages, and of the encoder's tokens where they are read.
Bytes kv_bytes_per_sequence(const MemoryRequest& request) {
  ensure(request.kv_block >= 1 && request.tensor_parallel >= 1, "a page of the KV cache holds no token");
  const DataType kv = request.precision.kv;
  Bytes sum;
  for (const Layer* layer : cached_layers(request)) {
    const LayerCache cache = cache_of(*layer, kv, request.tensor_parallel, request.kv_sharding);
    const std::int64_t tokens = std::min(request.tokens_per_sequence, cache.window.value_or(INT64_MAX));
    sum += static_cast<double>(whole_blocks(tokens, request.kv_block)) * cache.per_token;
    sum += static_cast<double>(whole_blocks(request.encoder_tokens, request.kv_block)) *
           cross_cache_of(*layer, kv, request.tensor_parallel, request.kv_sharding);
  }
  return sum;
}

/// Linear attention: [value_heads, key_head_dim, value_head_dim], in fp32 unless a server is told otherwise (it is
/// summed over the whole sequence), and the convolution's last taps − 1 inputs of q, k, v. LSTM: cells and output.
/// Heads and units are split over the tensor-parallel ranks.
Bytes recurrent_bytes_per_sequence(const Model& model, const Precision& precision, int tensor_parallel) {
  const Bytes activation = element_size(precision.activations);
  Bytes sum;
  for (const Layer& layer : model.layers()) {
    if (const auto* linear = std::get_if<LinearAttention>(&layer.block->mixer)) {
      const double state = static_cast<double>(linear->value_heads) * linear->key_head_dim * linear->value_head_dim;
      const double mixed = 2.0 * linear->key_heads * linear->key_head_dim +
                           static_cast<double>(linear->value_heads) * linear->value_head_dim;
      sum += state * element_size(precision.state) + std::max(0, linear->convolution - 1) * mixed * activation;
    } else if (const auto* lstm = std::get_if<Lstm>(&layer.block->mixer)) {
      sum += (lstm->units + (lstm->projection > 0 ? lstm->projection : lstm->units)) * activation;
    }
  }
  return sum / tensor_parallel;
}

}  // namespace moesim
