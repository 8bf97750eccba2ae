#include <algorithm>
#include <functional>

#include "models/architecture/huggingface_parts.hpp"

/// Llama, Mistral and the Qwen classes, key by key with their defaults (huggingface/transformers configuration_*.py).
namespace moesim::huggingface {

namespace {

/// Llama, Mistral, Qwen2 and Qwen3 without experts.
Architecture dense_family(const Config& config, GroupedQueryAttention attention, bool (*slides)(const Config&, int)) {
  const auto window = window_of(config);
  const DenseFeedForward dense{.intermediate = config.size("intermediate_size"),
                               .bias = config.flag_or("mlp_bias", false)};
  const int layers = layers_of(config);
  const auto kinds = config.kinds_per_layer("layer_types", layers, {"full_attention", "sliding_attention"});
  return with_layers(header(config), layers, [&](int i) {
    const bool slide = kinds.empty() ? slides(config, i) : kinds[static_cast<std::size_t>(i)] == "sliding_attention";
    return Block{.mixer = windowed(attention, slide ? window : std::nullopt), .feed_forward = dense};
  });
}

/// Qwen slides only where asked to, from layer max_window_layers on.
bool qwen_slides(const Config& config, int layer) {
  return config.flag_or("use_sliding_window", false) && layer >= config.count_or("max_window_layers", 28);
}

/// Experts of the Qwen classes, and in which layers they are.
MixtureOfExperts qwen_experts(const Config& config) {
  MixtureOfExperts moe{.experts = config.size("num_experts"),
                       .experts_per_token = config.size("num_experts_per_tok"),
                       .intermediate = config.size("moe_intermediate_size"),
                       .router = "softmax-top-k"};
  moe.shared_intermediate = config.count_or("shared_expert_intermediate_size", 0);
  moe.shared_gate = moe.shared_intermediate > 0;
  return moe;
}

Architecture qwen_layers(const Config& config, const MixtureOfExperts& moe, const std::function<Mixer(int)>& mixer) {
  const std::vector<int> dense_layers = config.numbers("mlp_only_layers");
  const int step = config.size_or("decoder_sparse_step", 1);
  const auto is_sparse = [&](int i) {
    return (i + 1) % step == 0 && std::find(dense_layers.begin(), dense_layers.end(), i) == dense_layers.end();
  };
  const int layers = layers_of(config);
  DenseFeedForward dense;
  for (int i = 0; i < layers && dense.intermediate == 0; ++i) {
    dense.intermediate = is_sparse(i) ? 0 : config.size("intermediate_size");  // needed only where a layer is dense
  }
  return with_layers(header(config), layers, [&](int i) {
    return Block{.mixer = mixer(i), .feed_forward = is_sparse(i) ? FeedForward(moe) : FeedForward(dense)};
  });
}

/// Qwen3-Next and Qwen3.5.
Architecture hybrid_layers(const Config& config) {
  GroupedQueryAttention full = attention_with_output_bias(config);
  full.qk_norm = true;
  full.output_gate = true;
  const LinearAttention linear{.key_heads = config.size("linear_num_key_heads"),
                               .value_heads = config.size("linear_num_value_heads"),
                               .key_head_dim = config.size("linear_key_head_dim"),
                               .value_head_dim = config.size("linear_value_head_dim"),
                               .convolution = config.size("linear_conv_kernel_dim"),
                               .output_gate = true,
                               .decay_gates = true};
  const auto kinds = config.kinds_per_layer("layer_types", layers_of(config), {"linear_attention", "full_attention"});
  const int interval = config.size_or("full_attention_interval", 4);
  return qwen_layers(config, qwen_experts(config), [&](int i) -> Mixer {
    const bool is_full =
        kinds.empty() ? (i + 1) % interval == 0 : kinds[static_cast<std::size_t>(i)] == "full_attention";
    return is_full ? Mixer(full) : Mixer(linear);
  });
}

}  // namespace

Architecture llama(const Config& config) {
  return dense_family(config, attention_with_output_bias(config), [](const Config&, int) { return false; });
}
Architecture mistral(const Config& config) {
  return dense_family(config, attention_of(config), [](const Config&, int) { return true; });
}
Architecture qwen2(const Config& config) {
  GroupedQueryAttention attention = attention_of(config);
  attention.bias = true;  // of queries, keys and values, always
  return dense_family(config, attention, qwen_slides);
}
Architecture qwen3(const Config& config) {
  GroupedQueryAttention attention = attention_with_output_bias(config);
  attention.qk_norm = true;
  return dense_family(config, attention, qwen_slides);
}

Architecture qwen2_moe(const Config& config) {
  GroupedQueryAttention attention = attention_of(config);
  attention.bias = config.flag_or("qkv_bias", true);
  const auto window = window_of(config);
  return qwen_layers(config, qwen_experts(config),
                     [&](int i) { return windowed(attention, qwen_slides(config, i) ? window : std::nullopt); });
}
Architecture qwen3_moe(const Config& config) {
  GroupedQueryAttention attention = attention_with_output_bias(config);
  attention.qk_norm = true;
  attention.window = config.flag_or("use_sliding_window", false) ? window_of(config) : std::nullopt;
  MixtureOfExperts moe = qwen_experts(config);
  moe.shared_intermediate = 0;  // the class knows no shared expert
  moe.shared_gate = false;
  return qwen_layers(config, moe, [&](int) { return attention; });
}
// Of models of text and images, the language model.
Architecture qwen3_vl_moe(const Config& config) { return qwen3_moe(config.inside("text_config")); }
/// Qwen3-Next's configurations do not say that there is a module of multi-token prediction: servers take one for
/// granted (vLLM, qwen3_next_mtp.py, num_nextn_predict_layers defaulting to 1).
Architecture qwen3_next(const Config& config) {
  Architecture architecture = hybrid_layers(config);
  architecture.multi_token_prediction_layers = config.count_or("num_nextn_predict_layers", 1);
  return architecture;
}
Architecture qwen3_5_moe_text(const Config& config) {
  Architecture architecture = hybrid_layers(config);
  architecture.multi_token_prediction_layers = config.count_or("mtp_num_hidden_layers", 0);
  return architecture;
}
Architecture qwen3_5_moe(const Config& config) {
  Architecture architecture = qwen3_5_moe_text(config.inside("text_config"));
  architecture.tied_embeddings = config.flag_or("tie_word_embeddings", architecture.tied_embeddings);
  return architecture;
}

}  // namespace moesim::huggingface
