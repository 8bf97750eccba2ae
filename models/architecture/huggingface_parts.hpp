#pragma once

#include <functional>
#include <optional>
#include <string>

#include "models/architecture/huggingface_reader.hpp"

/// What several configuration classes have in common, and the families themselves.
namespace moesim::huggingface {

using Config = HuggingFaceReader;

/// Width, vocabulary and whether the head is tied.
Architecture header(const Config& config);
int layers_of(const Config& config, const std::string& key = "num_hidden_layers");
Architecture with_layers(Architecture architecture, int layers, const std::function<Block(int)>& block);

/// num_key_value_heads is num_attention_heads where absent, head_dim is hidden_size / num_attention_heads.
GroupedQueryAttention attention_of(const Config& config);
/// The same where `attention_bias` goes for all four projections.
GroupedQueryAttention attention_with_output_bias(const Config& config);
/// A window as long as the longest sequence is none.
std::optional<int> window_of(const Config& config, const std::string& key = "sliding_window");
GroupedQueryAttention windowed(GroupedQueryAttention attention, std::optional<int> window);

Architecture llama(const Config& config);
Architecture mistral(const Config& config);
Architecture qwen2(const Config& config);
Architecture qwen3(const Config& config);
Architecture qwen2_moe(const Config& config);
Architecture qwen3_moe(const Config& config);
Architecture qwen3_next(const Config& config);
Architecture qwen3_vl_moe(const Config& config);
Architecture qwen3_5_moe(const Config& config);
Architecture qwen3_5_moe_text(const Config& config);

}  // namespace moesim::huggingface
