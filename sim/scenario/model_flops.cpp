#include "sim/scenario/model_flops.hpp"

#include <algorithm>
#include <variant>

#include "models/kernels/kernel.hpp"
#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"
#include "sim/program/step.hpp"

namespace moesim {

namespace {

double attention_flops(const Mixer& mixer, const BatchShape& batch, Mask mask) {
  const auto sequences = static_cast<double>(batch.sequences);
  const auto pairs = [&](std::int64_t window) {
    return mask == Mask::kFull ? static_cast<double>(batch.query) * static_cast<double>(batch.keys)
                               : attended_pairs(batch.query, batch.keys, window);
  };
  if (const auto* grouped = std::get_if<GroupedQueryAttention>(&mixer)) {
    const bool chunked = grouped->window && grouped->window_kind == WindowKind::kChunked && mask == Mask::kCausal;
    return 4.0 * grouped->heads * grouped->head_dim * sequences *
           (chunked ? chunked_pairs(batch.query, batch.keys, *grouped->window) : pairs(grouped->window.value_or(0)));
  }
  if (const auto* latent = std::get_if<LatentAttention>(&mixer)) {
    const auto& indexer = latent->indexer;
    const double scores = indexer ? 2.0 * indexer->heads * indexer->head_dim * pairs(0) : 0.0;
    return sequences *
           (scores + 2.0 * latent->heads * (latent->qk_nope_head_dim + latent->qk_rope_head_dim + latent->v_head_dim) *
                         pairs(indexer ? indexer->selected : 0));
  }
  if (const auto* linear = std::get_if<LinearAttention>(&mixer)) {  // update and read of the state, per token
    return 4.0 * linear->value_heads * linear->key_head_dim * linear->value_head_dim *
           static_cast<double>(batch.tokens());
  }
  return 0.0;
}

/// Beside attention and routed experts.
double weights_of_all_tokens(const Block& block, int hidden) {
  if (const auto* dense = std::get_if<DenseFeedForward>(&block.feed_forward)) {
    return dense_parameters(*dense, hidden);
  }
  const auto& moe = std::get<MixtureOfExperts>(block.feed_forward);
  return shared_expert_parameters(moe, hidden) + router_parameters(moe, hidden);
}

}  // namespace

ModelWork model_work(const Model& model, const BatchShape& batch, std::int64_t groups,
                     std::span<const double> routed_rows) {
  const Architecture& architecture = model.architecture();
  double attention = 0.0;
  double rest = 0.0;
  double experts = 0.0;
  std::size_t moe_layers = 0;
  bool generates = false;
  for (const Layer& layer : model.layers()) {
    if (!layer_runs(model, layer, batch.phase)) {
      continue;
    }
    generates = layer.stack == Stack::kDecoder;
    const Mask mask = layer.stack == Stack::kEncoder ? Mask::kFull : Mask::kCausal;
    rest += 2.0 * weights_of_all_tokens(*layer.block, architecture.hidden) * static_cast<double>(batch.tokens());
    attention += 2.0 * mixer_parameters(*layer.block, architecture.hidden) * static_cast<double>(batch.tokens());
    attention += attention_flops(layer.block->mixer, batch, mask);
    if (layer.block->cross_attention) {
      attention += attention_flops(*layer.block->cross_attention, batch, Mask::kFull);
    }
    if (const auto* moe = std::get_if<MixtureOfExperts>(&layer.block->feed_forward)) {
      ensure(moe_layers < routed_rows.size(), "rows of too few MoE layers");
      experts += 2.0 * expert_parameters(*moe, architecture.hidden) * routed_rows[moe_layers++];
    }
  }
  ensure(moe_layers == routed_rows.size(), "rows of MoE layers that do not run");
  if (generates) {
    const std::int64_t sampled = batch.phase == StepPhase::kDecode ? batch.tokens() : batch.sequences;
    rest += 2.0 * architecture.hidden * static_cast<double>(architecture.vocabulary) * static_cast<double>(sampled);
  }
  const auto all = static_cast<double>(groups);
  return {.attention = flops(attention * all), .rest = flops(rest * all), .experts = flops(experts)};
}

Flops masked_attention_work(const Mixer& mixer, const BatchShape& batch) {
  const auto* grouped = std::get_if<GroupedQueryAttention>(&mixer);
  const auto* latent = std::get_if<LatentAttention>(&mixer);
  if ((grouped != nullptr && !grouped->window) || (latent != nullptr && !latent->indexer)) {
    return flops(attention_flops(mixer, batch, Mask::kFull) - attention_flops(mixer, batch, Mask::kCausal));
  }
  return {};
}

FlopRate reference_peak(const Accelerator& accelerator, DataType weights) {
  for (const DataType type : {multiplied_as(weights, accelerator), DataType::kBf16}) {
    if (const auto found = accelerator.peak.find(type); found != accelerator.peak.end()) {
      return found->second;
    }
  }
  return std::max_element(accelerator.peak.begin(), accelerator.peak.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->second;
}

}  // namespace moesim
