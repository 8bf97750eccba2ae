#include "models/architecture/huggingface_parts.hpp"

#include <fmt/format.h>

namespace moesim::huggingface {

namespace {
constexpr int kMaxLayers = 10000;
}

Architecture header(const Config& config) {
  Architecture architecture;
  architecture.hidden = config.size("hidden_size");
  architecture.vocabulary = config.size("vocab_size");
  architecture.tied_embeddings = config.flag_or("tie_word_embeddings", false);
  return architecture;
}

int layers_of(const Config& config, const std::string& key) {
  const int layers = config.size(key);
  if (layers > kMaxLayers) {
    config.fail(key, fmt::format("expected at most {} layers, found {}", kMaxLayers, layers));
    return 1;
  }
  return layers;
}

Architecture with_layers(Architecture architecture, int layers, const std::function<Block(int)>& block) {
  std::vector<Block> blocks;
  for (int i = 0; i < layers; ++i) {
    blocks.push_back(block(i));
  }
  set_layers(architecture, blocks);
  return architecture;
}

GroupedQueryAttention attention_of(const Config& config) {
  GroupedQueryAttention attention;
  attention.heads = config.size("num_attention_heads");
  attention.kv_heads = config.size_or("num_key_value_heads", attention.heads);
  attention.head_dim = config.has("head_dim") ? config.size("head_dim") : config.size("hidden_size") / attention.heads;
  attention.bias = config.flag_or("attention_bias", false);
  return attention;
}

GroupedQueryAttention attention_with_output_bias(const Config& config) {
  GroupedQueryAttention attention = attention_of(config);
  attention.output_bias = attention.bias;
  return attention;
}

std::optional<int> window_of(const Config& config, const std::string& key) {
  if (!config.has(key)) {
    return std::nullopt;
  }
  const int window = config.size(key);
  const int longest = config.size_or("max_position_embeddings", 1 << 30);
  return window < longest ? std::optional(window) : std::nullopt;
}

GroupedQueryAttention windowed(GroupedQueryAttention attention, std::optional<int> window) {
  attention.window = window;
  return attention;
}

}  // namespace moesim::huggingface
