#include <algorithm>
#include <string>
#include <vector>

#include "models/architecture/huggingface_parts.hpp"

/// What the configuration classes of huggingface/transformers (or of the model's own repository) mean, key by key,
/// with their defaults. One function a family; llama, mistral and qwen* are in huggingface_qwen.cpp.
namespace moesim {

using namespace huggingface;

namespace {

Architecture mixtral(const Config& config) {
  const GroupedQueryAttention attention = windowed(attention_of(config), window_of(config));
  const MixtureOfExperts moe{.experts = config.size("num_local_experts"),
                             .experts_per_token = config.size("num_experts_per_tok"),
                             .intermediate = config.size("intermediate_size"),
                             .router = "top-k-softmax"};
  return with_layers(header(config), layers_of(config),
                     [&](int) { return Block{.mixer = attention, .feed_forward = moe}; });
}

/// Phi-3.5-MoE: LayerNorm, biases also on the output projection and on the LM head.
Architecture phimoe(const Config& config) {
  Architecture architecture = mixtral(config);
  for (auto& [name, block] : architecture.blocks) {
    auto& attention = std::get<GroupedQueryAttention>(block.mixer);
    attention.output_bias = attention.bias;
    std::get<MixtureOfExperts>(block.feed_forward).router = "sparsemixer";
  }
  architecture.norm = Norm::kLayer;
  architecture.extra_parameters = config.flag_or("lm_head_bias", false) ? architecture.vocabulary : 0;
  return architecture;
}

/// Arctic: a dense residual as wide as the stream beside the experts (use_residual, parallel_attn_mlp_res).
Architecture arctic(const Config& config) {
  const GroupedQueryAttention attention = windowed(attention_of(config), window_of(config));
  const int intermediate = config.size("intermediate_size");
  MixtureOfExperts moe{.experts = config.size("num_local_experts"),
                       .experts_per_token = config.size_or("num_experts_per_tok", 1),
                       .intermediate = intermediate,
                       .router = "arctic"};
  if (config.flag_or("parallel_attn_mlp_res", false) || config.flag_or("use_residual", false)) {
    moe.shared_intermediate = config.size("hidden_size");
  }
  const int frequency = config.size_or("moe_layer_frequency", 2);
  return with_layers(header(config), layers_of(config), [&](int i) {
    return Block{.mixer = attention,
                 .feed_forward = (i + 1) % frequency == 0
                                     ? FeedForward(moe)
                                     : FeedForward(DenseFeedForward{.intermediate = intermediate})};
  });
}

/// Experts of the DeepSeek and GLM-4.5 classes.
MixtureOfExperts deepseek_experts(const Config& config, std::string router) {
  MixtureOfExperts moe{.experts = config.size("n_routed_experts"),
                       .experts_per_token = config.size("num_experts_per_tok"),
                       .intermediate = config.size("moe_intermediate_size")};
  moe.shared_intermediate = config.count_or("n_shared_experts", 0) * moe.intermediate;
  moe.router_bias = router == "sigmoid-bias-top-k";
  if (router != "softmax-top-k" && config.size_or("n_group", 1) > 1) {
    moe.groups = config.size("n_group");
    moe.groups_per_token = config.size("topk_group");
  }
  moe.router = std::move(router);
  return moe;
}

/// The first layers are dense, `usual` of them where the configuration does not say; then every moe_layer_freq-th has
/// experts. `modules`: of multi-token prediction, where it does not say.
Architecture leading_dense(const Config& config, const Mixer& mixer, const MixtureOfExperts& moe, int usual = 0,
                           int modules = 0) {
  const int leading = config.count_or("first_k_dense_replace", usual);
  const int frequency = config.size_or("moe_layer_freq", 1);
  const DenseFeedForward dense{.intermediate = config.size("intermediate_size")};
  Architecture architecture = with_layers(header(config), layers_of(config), [&](int i) {
    const bool sparse = i >= leading && i % frequency == 0;
    return Block{.mixer = mixer, .feed_forward = sparse ? FeedForward(moe) : FeedForward(dense)};
  });
  architecture.multi_token_prediction_layers = config.count_or("num_nextn_predict_layers", modules);
  return architecture;
}

LatentAttention latent_of(const Config& config) {
  return {.heads = config.size("num_attention_heads"),
          .q_lora_rank = config.count_or("q_lora_rank", 0),
          .kv_lora_rank = config.size("kv_lora_rank"),
          .qk_nope_head_dim = config.size("qk_nope_head_dim"),
          .qk_rope_head_dim = config.size("qk_rope_head_dim"),
          .v_head_dim = config.size("v_head_dim")};
}

Architecture deepseek_v2(const Config& config) {
  const bool grouped = config.text_or("topk_method", "greedy") == "group_limited_greedy";
  return leading_dense(config, latent_of(config),
                       deepseek_experts(config, grouped ? "group-limited-top-k" : "softmax-top-k"));
}
Architecture deepseek_v3(const Config& config) {
  return leading_dense(config, latent_of(config), deepseek_experts(config, "sigmoid-bias-top-k"));
}
/// An indexer in each layer. Those that read what another layer selected (GLM-5.2) are refused.
LatentAttention sparse_latent_of(const Config& config, const SparseIndexer& indexer) {
  if (config.size_or("index_topk_freq", 1) > 1) {
    config.fail("index_topk_freq", "expected 1: layers that use the selection of another are not modelled");
  }
  const std::vector<std::string> kinds = config.texts("indexer_types");
  if (std::find(kinds.begin(), kinds.end(), "shared") != kinds.end()) {
    config.fail("indexer_types", "expected no \"shared\": layers that use the selection of another are not modelled");
  }
  LatentAttention attention = latent_of(config);
  attention.indexer = indexer;
  return attention;
}
Architecture deepseek_v32(const Config& config) {
  const SparseIndexer indexer{.heads = config.size("index_n_heads"),
                              .head_dim = config.size("index_head_dim"),
                              .selected = config.size("index_topk")};
  return leading_dense(config, sparse_latent_of(config, indexer), deepseek_experts(config, "sigmoid-bias-top-k"));
}
/// GLM-5: DeepSeek-V3.2 in other sizes; defaults of huggingface/transformers' GlmMoeDsaConfig.
/// With a module of multi-token prediction, as servers know it (SGLang, GlmMoeDsaForCausalLMNextN).
Architecture glm_moe_dsa(const Config& config) {
  const SparseIndexer indexer{.heads = config.size_or("index_n_heads", 32),
                              .head_dim = config.size_or("index_head_dim", 128),
                              .selected = config.size_or("index_topk", 2048)};
  return leading_dense(config, sparse_latent_of(config, indexer), deepseek_experts(config, "sigmoid-bias-top-k"), 3, 1);
}
/// GLM-4.7-Flash, with a module of multi-token prediction, as servers know it (vLLM, glm4_moe_lite_mtp.py).
Architecture glm4_moe_lite(const Config& config) {
  return leading_dense(config, latent_of(config), deepseek_experts(config, "sigmoid-bias-top-k"), 1, 1);
}
/// Kimi-K2.5: the language model is Kimi-K2's.
Architecture kimi_k25(const Config& config) {
  return deepseek_v3(config.has("text_config") ? config.inside("text_config") : config);
}

Architecture glm4_moe(const Config& config) {
  GroupedQueryAttention attention = attention_of(config);
  attention.qk_norm = config.flag_or("use_qk_norm", false);
  return leading_dense(config, attention, deepseek_experts(config, "sigmoid-bias-top-k"));
}

Architecture olmoe(const Config& config) {
  GroupedQueryAttention attention = attention_with_output_bias(config);
  attention.qk_norm = true;
  attention.qk_norm_width = NormWidth::kAllHeads;
  const MixtureOfExperts moe{.experts = config.size("num_experts"),
                             .experts_per_token = config.size("num_experts_per_tok"),
                             .intermediate = config.size("intermediate_size"),
                             .router = "softmax-top-k"};
  return with_layers(header(config), layers_of(config),
                     [&](int) { return Block{.mixer = attention, .feed_forward = moe}; });
}

/// Biases everywhere, a learnt sink per head, windows in every other layer.
Architecture gpt_oss(const Config& config) {
  GroupedQueryAttention attention = attention_of(config);
  attention.bias = attention.output_bias = config.flag_or("attention_bias", true);
  MixtureOfExperts moe{
      .experts = config.size("num_local_experts"),
      .experts_per_token = config.size(config.has("num_experts_per_tok") ? "num_experts_per_tok" : "experts_per_token"),
      .intermediate = config.size("intermediate_size"),
      .bias = true,
      .router = "top-k-softmax",
      .router_bias = true};
  const auto window = window_of(config);
  const int layers = layers_of(config);
  const auto kinds = config.kinds_per_layer("layer_types", layers, {"sliding_attention", "full_attention"});
  Architecture architecture = with_layers(header(config), layers, [&](int i) {
    const bool slides = kinds.empty() ? i % 2 == 0 : kinds[static_cast<std::size_t>(i)] == "sliding_attention";
    return Block{.mixer = windowed(attention, slides ? window : std::nullopt), .feed_forward = moe};
  });
  architecture.extra_parameters = static_cast<std::int64_t>(layers) * attention.heads;
  return architecture;
}

/// Layers with rotary positions see chunks of attention_chunk_size, the others (NoPE) everything. no_rope_layers
/// says which, 1 for rotary; every fourth has none where it is absent.
Architecture llama4_text(const Config& config) {
  const GroupedQueryAttention attention = attention_with_output_bias(config);
  GroupedQueryAttention local = windowed(attention, window_of(config, "attention_chunk_size"));
  local.window_kind = local.window ? WindowKind::kChunked : WindowKind::kSliding;
  const MixtureOfExperts moe{.experts = config.size("num_local_experts"),
                             .experts_per_token = config.size("num_experts_per_tok"),
                             .intermediate = config.size("intermediate_size"),
                             .shared_intermediate = config.size("intermediate_size"),
                             .router = "sigmoid-top-k"};
  const DenseFeedForward dense{.intermediate = config.size("intermediate_size_mlp")};
  const int layers = layers_of(config);
  const std::vector<int> rotary = config.numbers_per_layer("no_rope_layers", layers);
  const std::vector<int> listed = config.numbers("moe_layers");
  const int step = config.size_or("interleave_moe_layer_step", 1);
  return with_layers(header(config), layers, [&](int i) {
    const bool chunked = rotary.empty() ? (i + 1) % 4 != 0 : rotary[static_cast<std::size_t>(i)] != 0;
    const bool sparse =
        listed.empty() ? (i + 1) % step == 0 : std::find(listed.begin(), listed.end(), i) != listed.end();
    return Block{.mixer = chunked ? local : attention, .feed_forward = sparse ? FeedForward(moe) : FeedForward(dense)};
  });
}
Architecture llama4(const Config& config) { return llama4_text(config.inside("text_config")); }

/// MiniMax-Text-01 and M1: lightning attention with softmax attention in between (attn_type_list: 1, or layer_types).
Architecture minimax(const Config& config) {
  const GroupedQueryAttention softmax = attention_of(config);
  const LinearAttention lightning{.key_heads = softmax.heads,
                                  .value_heads = softmax.heads,
                                  .key_head_dim = softmax.head_dim,
                                  .value_head_dim = softmax.head_dim,
                                  .output_gate = true,
                                  .norm_width = NormWidth::kAllHeads};
  MixtureOfExperts moe{.experts = config.size("num_local_experts"),
                       .experts_per_token = config.size("num_experts_per_tok"),
                       .intermediate = config.size("intermediate_size"),
                       .shared_intermediate = config.count_or("shared_intermediate_size", 0),
                       .router = "softmax-top-k"};
  const int layers = layers_of(config);
  const std::vector<int> types = config.numbers_per_layer("attn_type_list", layers);
  const auto kinds = config.kinds_per_layer("layer_types", layers, {"linear_attention", "full_attention"});
  if (types.empty() && kinds.empty()) {
    config.fail("attn_type_list", "expected the key \"attn_type_list\" or \"layer_types\", found neither");
  }
  return with_layers(header(config), layers, [&](int i) {
    const auto index = static_cast<std::size_t>(i);
    const bool full = !types.empty() ? types[index] == 1 : !kinds.empty() && kinds[index] == "full_attention";
    return Block{.mixer = full ? Mixer(softmax) : Mixer(lightning), .feed_forward = moe};
  });
}
Architecture minimax_m2(const Config& config) {
  GroupedQueryAttention attention = attention_of(config);
  attention.qk_norm = config.flag_or("use_qk_norm", true);
  if (config.text_or("qk_norm_type", "per_layer") == "per_layer") {
    attention.qk_norm_width = NormWidth::kAllHeads;
  }
  MixtureOfExperts moe{.experts = config.size("num_local_experts"),
                       .experts_per_token = config.size("num_experts_per_tok"),
                       .intermediate = config.size("intermediate_size"),
                       .shared_intermediate = config.count_or("shared_intermediate_size", 0),
                       .router = "sigmoid-bias-top-k",
                       .router_bias = config.flag_or("use_routing_bias", true)};
  Architecture architecture = with_layers(header(config), layers_of(config),
                                          [&](int) { return Block{.mixer = attention, .feed_forward = moe}; });
  architecture.multi_token_prediction_layers =
      config.flag_or("use_mtp", true) ? config.count_or("num_mtp_modules", 0) : 0;
  return architecture;
}

Architecture dbrx(const Config& config) {
  Architecture architecture;
  architecture.hidden = config.size("d_model");
  architecture.vocabulary = config.size("vocab_size");
  architecture.tied_embeddings = config.flag_or("tie_word_embeddings", false);
  GroupedQueryAttention attention;
  attention.heads = config.size("n_heads");
  attention.kv_heads = config.inside("attn_config").size("kv_n_heads");
  attention.head_dim = architecture.hidden / attention.heads;
  const Config experts = config.inside("ffn_config");
  const MixtureOfExperts moe{.experts = experts.size("moe_num_experts"),
                             .experts_per_token = experts.size("moe_top_k"),
                             .intermediate = experts.size("ffn_hidden_size"),
                             .router = "softmax-top-k"};
  return with_layers(std::move(architecture), layers_of(config, "n_layers"),
                     [&](int) { return Block{.mixer = attention, .feed_forward = moe}; });
}

}  // namespace

std::vector<HuggingFaceFamily> huggingface_families() {
  return {{"arctic", arctic},
          {"dbrx", dbrx},
          {"deepseek_v2", deepseek_v2},
          {"deepseek_v3", deepseek_v3},
          {"deepseek_v32", deepseek_v32},
          {"glm4_moe", glm4_moe},
          {"glm4_moe_lite", glm4_moe_lite},
          {"glm_moe_dsa", glm_moe_dsa},
          {"gpt_oss", gpt_oss},
          {"kimi_k2", deepseek_v3},
          {"kimi_k25", kimi_k25},
          {"llama", llama},
          {"llama4", llama4},
          {"llama4_text", llama4_text},
          {"minimax", minimax},
          {"minimax_m1", minimax},
          {"minimax_m2", minimax_m2},
          {"minimax_text_01", minimax},
          {"mistral", mistral},
          {"mixtral", mixtral},
          {"olmoe", olmoe},
          {"phimoe", phimoe},
          {"qwen2", qwen2},
          {"qwen2_moe", qwen2_moe},
          {"qwen3", qwen3},
          {"qwen3_5_moe", qwen3_5_moe},
          {"qwen3_5_moe_text", qwen3_5_moe_text},
          {"qwen3_moe", qwen3_moe},
          {"qwen3_next", qwen3_next},
          {"qwen3_vl_moe", qwen3_vl_moe}};
}

}  // namespace moesim
