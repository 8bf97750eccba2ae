#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <utility>
#include <variant>

#include "sim/config/describe.hpp"

/// What mixes tokens in a layer: attention of several kinds, or recurrence.
namespace moesim {

/// How wide the gain vector of a norm over heads is: one vector that all heads share, or one for each head's channels.
enum class NormWidth { kHead, kAllHeads };
template <>
struct EnumNames<NormWidth> {
  static constexpr auto names = std::to_array<std::pair<NormWidth, std::string_view>>(
      {{NormWidth::kHead, "head"}, {NormWidth::kAllHeads, "all-heads"}});
};

/// Which keys a window holds: the last so many, or those since the last multiple of its size (chunked local attention,
/// Llama 4: a query at position p sees p mod window + 1 keys).
enum class WindowKind { kSliding, kChunked };
template <>
struct EnumNames<WindowKind> {
  static constexpr auto names = std::to_array<std::pair<WindowKind, std::string_view>>(
      {{WindowKind::kSliding, "sliding"}, {WindowKind::kChunked, "chunked"}});
};

/// Multi-head, multi-query and grouped-query attention (Ainslie et al. 2023, arXiv 2305.13245).
struct GroupedQueryAttention {
  static constexpr std::string_view kTag = "grouped_query";
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  std::optional<int> window = std::nullopt;  ///< keys a query sees at most; absent: all before it
  WindowKind window_kind = WindowKind::kSliding;
  bool bias = false;         ///< biases on the query, key and value projections
  bool output_bias = false;  ///< bias on the output projection
  bool qk_norm = false;      ///< RMSNorm with learnt gains over queries and keys
  NormWidth qk_norm_width = NormWidth::kHead;
  bool output_gate = false;  ///< a sigmoid gate as wide as the queries (Qwen3-Next)

  template <class F>
  static void describe(F& f) {
    f.required("heads", &GroupedQueryAttention::heads, "Query heads", Rules::between(1, 65536));
    f.required("kv_heads", &GroupedQueryAttention::kv_heads, "Key and value heads", Rules::between(1, 65536));
    f.required("head_dim", &GroupedQueryAttention::head_dim, "Width of one head", Rules::between(1, 65536));
    f.optional("window", &GroupedQueryAttention::window, "Keys a query sees at most", Rules::between(1, 1 << 30));
    f.optional("window_kind", &GroupedQueryAttention::window_kind,
               "sliding: the last keys; chunked: those since the last multiple of the window");
    f.optional("bias", &GroupedQueryAttention::bias, "Biases on the query, key and value projections");
    f.optional("output_bias", &GroupedQueryAttention::output_bias, "Bias on the output projection");
    f.optional("qk_norm", &GroupedQueryAttention::qk_norm, "Norms with learnt gains over queries and keys");
    f.optional("qk_norm_width", &GroupedQueryAttention::qk_norm_width,
               "Gains per head's channel, or per channel of all heads");
    f.optional("output_gate", &GroupedQueryAttention::output_gate,
               "Sigmoid gate on the output, as wide as the queries");
  }
};

/// The indexer of sparse attention (DeepSeek-V3.2 report, arXiv 2512.02556, section 2.1): for every query, heads of
/// width head_dim score all keys before it, I = Σ_heads w·ReLU(q·k), and attention reads the `selected` best of them
/// alone. Queries come from the query latent; keys, one for all heads, and the heads' weights w from the hidden states.
struct SparseIndexer {
  int heads = 0;
  int head_dim = 0;
  int selected = 0;  ///< keys that a query attends to

  template <class F>
  static void describe(F& f) {
    f.required("heads", &SparseIndexer::heads, "Heads that score keys", Rules::between(1, 65536));
    f.required("head_dim", &SparseIndexer::head_dim, "Width of such a head and of the keys", Rules::between(1, 65536));
    f.required("selected", &SparseIndexer::selected, "Keys that a query attends to", Rules::between(1, 1 << 30));
  }
};

/// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1): keys and values are expanded from one
/// latent of kv_lora_rank, which is what the cache holds, with one shared rotary key.
struct LatentAttention {
  static constexpr std::string_view kTag = "latent";
  int heads = 0;
  int q_lora_rank = 0;  ///< 0: queries are projected directly
  int kv_lora_rank = 0;
  int qk_nope_head_dim = 0;
  int qk_rope_head_dim = 0;
  int v_head_dim = 0;
  std::optional<SparseIndexer> indexer = std::nullopt;  ///< absent: a query attends to all keys before it

  template <class F>
  static void describe(F& f) {
    f.required("heads", &LatentAttention::heads, "Query heads", Rules::between(1, 65536));
    f.required("q_lora_rank", &LatentAttention::q_lora_rank, "Rank of the query latent; 0 for none",
               Rules::between(0, 1 << 20));
    f.required("kv_lora_rank", &LatentAttention::kv_lora_rank, "Rank of the key-value latent",
               Rules::between(1, 1 << 20));
    f.required("qk_nope_head_dim", &LatentAttention::qk_nope_head_dim, "Width of a query head without position",
               Rules::between(1, 65536));
    f.required("qk_rope_head_dim", &LatentAttention::qk_rope_head_dim, "Width of the rotary part",
               Rules::between(0, 65536));
    f.required("v_head_dim", &LatentAttention::v_head_dim, "Width of a value head", Rules::between(1, 65536));
    f.optional("indexer", &LatentAttention::indexer, "What picks the keys that a query attends to");
  }
};

/// Linear attention with a state per head instead of a cache: gated DeltaNet (arXiv 2412.06464) and lightning
/// attention (arXiv 2401.04658). State per layer and sequence: [value_heads, key_head_dim, value_head_dim].
struct LinearAttention {
  static constexpr std::string_view kTag = "linear";
  int key_heads = 0;
  int value_heads = 0;
  int key_head_dim = 0;
  int value_head_dim = 0;
  int convolution = 0;      ///< taps of the short convolution over q, k, v; 0 for none
  bool output_gate = true;  ///< a gate as wide as the values
  bool decay_gates =
      false;  ///< decay and write strength are computed from the token, one each per value head (DeltaNet)
  NormWidth norm_width = NormWidth::kHead;  ///< of the norm on the output

  template <class F>
  static void describe(F& f) {
    f.required("key_heads", &LinearAttention::key_heads, "Query and key heads", Rules::between(1, 65536));
    f.required("value_heads", &LinearAttention::value_heads, "Value heads", Rules::between(1, 65536));
    f.required("key_head_dim", &LinearAttention::key_head_dim, "Width of a key head", Rules::between(1, 65536));
    f.required("value_head_dim", &LinearAttention::value_head_dim, "Width of a value head", Rules::between(1, 65536));
    f.optional("convolution", &LinearAttention::convolution, "Taps of the short convolution", Rules::between(0, 64));
    f.optional("output_gate", &LinearAttention::output_gate, "A gate as wide as the values");
    f.optional("decay_gates", &LinearAttention::decay_gates, "Decay and write strength are computed from the token");
    f.optional("norm_width", &LinearAttention::norm_width,
               "Gains of the output norm, per head's channel or per channel of all heads");
  }
};

/// A long short-term memory layer with output projection (Shazeer et al. 2017, appendix C: LSTM layers around the
/// MoE). Four gates over the input and the previous output.
struct Lstm {
  static constexpr std::string_view kTag = "lstm";
  int units = 0;
  int projection = 0;  ///< width of the output; 0: none, the units are the output

  template <class F>
  static void describe(F& f) {
    f.required("units", &Lstm::units, "Memory cells", Rules::between(1, 1 << 20));
    f.optional("projection", &Lstm::projection, "Width of the projected output; 0 for none",
               Rules::between(0, 1 << 20));
  }
};

using Mixer = std::variant<GroupedQueryAttention, LatentAttention, LinearAttention, Lstm>;

}  // namespace moesim
