#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <variant>

#include "models/memory/memory.hpp"
#include "sim/core/quantity.hpp"

/// Activations in inference live only as long as the next operator needs them. The peak is taken as
///   2·T·h·a + max(mixer, feed-forward, logits)
/// T = step_tokens, h = hidden, a = bytes of an activation: the residual stream and the normed input of a block, and
/// beside them the inputs and outputs of the block's widest pair of operators. An upper estimate: allocators that
/// reuse buffers inside a block come in below it, fragmentation adds to it; the reserve covers the difference.
///
/// Of micro-batches only one computes at a time: from the first MoE layer to the last, T in the maximum is that of the
/// largest. Beside it the other's rows wait, sent to its experts or back: R·h·max(d, c), with the bytes d of a
/// dispatched element and c of a combined one.
namespace moesim {
namespace {

/// Elements per token, by part: those that tensor-parallel ranks split, and those each holds.
struct Width {
  double split = 0.0;
  double whole = 0.0;
};

/// Queries and output, keys and values.
Width width_of(const GroupedQueryAttention& a, ServingPhase) {
  return {.split = 2.0 * a.head_dim * (static_cast<double>(a.heads) + a.kv_heads)};
}
/// Prompts: queries (nope + rope) and output per head; keys and values are in expanded_bytes. Generation: absorbed
/// queries (r_kv + rope) and outputs over the latent (r_kv). Both: the latents.
Width width_of(const LatentAttention& a, ServingPhase phase) {
  const double head = phase == ServingPhase::kContext
                          ? static_cast<double>(a.qk_nope_head_dim) + a.qk_rope_head_dim + a.v_head_dim
                          : 2.0 * a.kv_lora_rank + a.qk_rope_head_dim;
  return {.split = a.heads * head, .whole = static_cast<double>(a.q_lora_rank) + a.kv_lora_rank + a.qk_rope_head_dim};
}
/// q, k, v, output and its gate.
Width width_of(const LinearAttention& a, ServingPhase) {
  return {.split = 2.0 * a.key_heads * a.key_head_dim +
                   (a.output_gate ? 3.0 : 2.0) * static_cast<double>(a.value_heads) * a.value_head_dim};
}
/// Four gates and the cells.
Width width_of(const Lstm& lstm, ServingPhase) { return {.split = 5.0 * lstm.units}; }

/// Prompts expand the latents of all tokens that they attend to into keys and values, [tokens, heads/TP · (nope + rope
/// + v)]: the step's own at once, those cached before it in parts of at most 64·1024 tokens (vLLM, mla/common.py,
/// determine_chunked_prefill_workspace_size).
Bytes expanded_bytes(const MemoryRequest& request, const Mixer& mixer) {
  const auto* latent = std::get_if<LatentAttention>(&mixer);
  if (latent == nullptr || request.phase != ServingPhase::kContext) {
    return {};
  }
  const double width = static_cast<double>(latent->qk_nope_head_dim) + latent->qk_rope_head_dim + latent->v_head_dim;
  constexpr double kMostExpanded = 65536.0;
  const auto own = static_cast<double>(request.step_tokens);
  const double cached = static_cast<double>(request.sequences) * static_cast<double>(request.tokens_per_sequence) - own;
  return (own + std::clamp(cached, 0.0, kMostExpanded)) * latent->heads / request.tensor_parallel * width *
         activation_element_size(request.precision.activations);
}

Bytes mixer_bytes(const MemoryRequest& request, const Block& block) {
  const Width width = std::visit([&](const auto& m) { return width_of(m, request.phase); }, block.mixer);
  return expanded_bytes(request, block.mixer) + static_cast<double>(request.step_tokens) *
                                                    (width.split / request.tensor_parallel + width.whole) *
                                                    activation_element_size(request.precision.activations);
}

/// Inner activations of a feed-forward block: outputs of the inward matrices and what the activation makes of them.
double inner_widths(const auto& block) { return block.gated ? 3.0 : 2.0; }

Bytes feed_forward_bytes(const MemoryRequest& request, const DenseFeedForward& dense) {
  return static_cast<double>(request.step_tokens) * inner_widths(dense) * dense.intermediate / request.tensor_parallel *
         activation_element_size(request.precision.activations);
}

/// Rows that the experts' kernels are laid out for. Low-latency kernels give every local expert a place for all tokens
/// of all ranks (DeepEP: [local experts, ranks·max_dispatch_tokens, hidden]).
double expert_rows(const MemoryRequest& request, const MixtureOfExperts& moe, std::size_t slots) {
  if (request.exchange == ExpertExchange::kLowLatency) {
    return static_cast<double>(slots) * request.expert_ranks * static_cast<double>(request.max_dispatch_tokens);
  }
  return static_cast<double>(request.expert_rows.value_or(request.step_tokens * moe.experts_per_token));
}

/// R rows: inputs R·h as dispatched, inner activations, outputs R·h as combined; the shared experts beside them.
Bytes feed_forward_bytes(const MemoryRequest& request, const MixtureOfExperts& moe, std::size_t slots) {
  const Bytes activation = activation_element_size(request.precision.activations);
  const double hidden = request.model.architecture().hidden;
  const double inner = inner_widths(moe) * moe.intermediate / request.expert_tensor_parallel;
  // Split by width over all tokens, or by tokens over the ranks of the group: as much either way.
  const double shared = inner_widths(moe) * moe.shared_intermediate;
  return expert_rows(request, moe, slots) *
             (hidden * activation_element_size(request.precision.dispatch) + inner * activation +
              hidden * activation_element_size(request.precision.combine)) +
         static_cast<double>(request.step_tokens) / request.tensor_parallel * shared * activation;
}

/// The largest micro-batch by itself.
MemoryRequest micro_batch_of(const MemoryRequest& request) {
  MemoryRequest part = request;
  const std::int64_t count = request.micro_batches;
  part.sequences = (request.sequences + count - 1) / count;
  part.step_tokens = request.sequences > 1 ? request.step_tokens / request.sequences * part.sequences
                                           : (request.step_tokens + count - 1) / count;
  return part;
}

/// Rows of the micro-batches that do not compute.
Bytes waiting_rows(const MemoryRequest& part, const MixtureOfExperts& moe, std::size_t slots) {
  return (part.micro_batches - 1) * expert_rows(part, moe, slots) * part.model.architecture().hidden *
         std::max(activation_element_size(part.precision.dispatch), activation_element_size(part.precision.combine));
}

/// From the first MoE layer to the last, [first, last).
std::pair<std::size_t, std::size_t> split_layers(const Model& model) {
  const auto& layers = model.layers();
  const auto moe = [](const Layer& layer) { return layer.moe() != nullptr; };
  const auto first = std::find_if(layers.begin(), layers.end(), moe);
  const auto last = std::find_if(layers.rbegin(), layers.rend(), moe);
  return {static_cast<std::size_t>(first - layers.begin()), static_cast<std::size_t>(last.base() - layers.begin())};
}

}  // namespace

Bytes activation_bytes(const MemoryRequest& request) {
  const Architecture& architecture = request.model.architecture();
  // Logits of each sequence's last token, and of the drafts that are verified, in fp32 as samplers take them.
  const auto sampled =
      static_cast<double>(std::min(request.sequences * (1 + request.draft_tokens), request.step_tokens));
  Bytes widest = sampled * architecture.vocabulary / request.tensor_parallel * activation_element_size(DataType::kFp32);
  const MemoryRequest part = request.micro_batches > 1 ? micro_batch_of(request) : request;
  const auto [first, last] = split_layers(request.model);
  Bytes waiting;
  for (const Layer& layer : request.model.layers()) {
    const MemoryRequest& own = layer.index >= first && layer.index < last ? part : request;
    const MixtureOfExperts* moe = layer.moe();
    const std::size_t slots = moe != nullptr ? request.expert_slots[*layer.moe_index] : 0;
    const Bytes feed_forward = moe != nullptr
                                   ? feed_forward_bytes(own, *moe, slots)
                                   : feed_forward_bytes(own, std::get<DenseFeedForward>(layer.block->feed_forward));
    if (moe != nullptr && request.micro_batches > 1) {
      waiting = waiting_rows(part, *moe, slots);
    }
    const Bytes beside = &own == &part ? waiting : Bytes{};
    widest = std::max({widest, mixer_bytes(own, *layer.block) + beside, feed_forward + beside});
  }
  return 2.0 * static_cast<double>(request.step_tokens) * architecture.hidden *
             activation_element_size(request.precision.activations) +
         widest;
}

}  // namespace moesim
