#include "sim/program/operators.hpp"

#include <algorithm>
#include <variant>

#include "sim/core/quantity.hpp"

namespace moesim {

namespace {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

Bytes elements(std::int64_t count, DataType type) { return static_cast<double>(count) * activation_element_size(type); }

Gemm gemm(const OperatorContext& context, std::int64_t m, std::int64_t n, std::int64_t k, std::int64_t batch = 1) {
  return {
      .m = m, .n = n, .k = k, .batch = batch, .weight = context.weights, .activation = context.precision.activations};
}

/// Rotary embedding of queries and keys (and their norms), and the append to the cache: reads what the projection
/// wrote, writes queries and cache entries.
OperatorKernel rotate_and_cache(const OperatorContext& context, std::int64_t tokens, std::int64_t query_width,
                                std::int64_t cache_width) {
  const DataType type = context.precision.activations;
  return {StepOperator::kAttentionProjection,
          Streaming{elements(tokens * (query_width + cache_width), type),
                    elements(tokens * query_width, type) +
                        static_cast<double>(tokens * cache_width) * element_size(context.precision.kv),
                    flops(static_cast<double>(tokens * (query_width + cache_width)) * 6.0)}};
}

/// The share of one of `parts` ranks, rounded up: the widest rank sets the pace.
std::int64_t split(int count, int parts) { return (count + parts - 1) / parts; }

/// Queries of a batch that run as sequences of their own.
struct Stretch {
  std::int64_t sequences = 0;
  std::int64_t query = 0;
  std::int64_t keys = 0;
};

/// The batch cut at multiples of `chunk`, across which nobody sees (vLLM and SGLang run such parts as a batch of
/// sequences, make_local_attention_virtual_batches); whole where chunk is 0.
std::vector<Stretch> stretches(const BatchShape& batch, std::int64_t chunk) {
  if (chunk == 0) {
    return {{batch.sequences, batch.query, batch.keys}};
  }
  std::vector<Stretch> parts;
  std::int64_t left = batch.query;
  if (const std::int64_t begun = (batch.keys - batch.query) % chunk; begun > 0) {
    const std::int64_t rest = std::min(left, chunk - begun);
    parts.push_back({batch.sequences, rest, begun + rest});
    left -= rest;
  }
  if (left >= chunk) {
    parts.push_back({batch.sequences * (left / chunk), chunk, chunk});
  }
  if (left % chunk > 0) {
    parts.push_back({batch.sequences, left % chunk, left % chunk});
  }
  return parts;
}

KernelList grouped_query(const OperatorContext& context, const GroupedQueryAttention& attention,
                         const BatchShape& batch) {
  const std::int64_t tokens = batch.tokens();
  const std::int64_t heads = split(attention.heads, context.tensor_parallel);
  const std::int64_t kv_heads =
      split(attention.kv_heads, context.tensor_parallel);  // replicated once there is one left
  const std::int64_t width = heads * attention.head_dim;
  const std::int64_t kv_width = 2 * kv_heads * attention.head_dim;
  KernelList kernels;
  kernels.push_back({StepOperator::kAttentionProjection,
                     gemm(context, tokens, width * (attention.output_gate ? 2 : 1) + kv_width, context.hidden)});
  kernels.push_back(rotate_and_cache(context, tokens, width, kv_width));
  const bool chunked = attention.window && attention.window_kind == WindowKind::kChunked;
  const std::int64_t window = chunked ? 0 : attention.window.value_or(0);
  if (batch.phase == StepPhase::kDecode) {
    const std::int64_t keys = chunked ? (batch.keys - 1) % *attention.window + 1 : batch.keys;
    kernels.push_back({StepOperator::kAttention, GenerationAttention{.sequences = batch.sequences,
                                                                     .keys = keys,
                                                                     .heads = heads,
                                                                     .kv_heads = kv_heads,
                                                                     .head_dim = attention.head_dim,
                                                                     .window = window,
                                                                     .kv = context.precision.kv}});
  } else {
    const bool parted = chunked && batch.mask == Mask::kCausal;
    for (const Stretch& stretch : stretches(batch, parted ? *attention.window : 0)) {
      kernels.push_back({StepOperator::kAttention, ContextAttention{.sequences = stretch.sequences,
                                                                    .query = stretch.query,
                                                                    .keys = stretch.keys,
                                                                    .heads = heads,
                                                                    .kv_heads = kv_heads,
                                                                    .qk_head_dim = attention.head_dim,
                                                                    .v_head_dim = attention.head_dim,
                                                                    .window = window,
                                                                    .kv = context.precision.kv,
                                                                    .mask = batch.mask}});
    }
  }
  kernels.push_back({StepOperator::kAttentionOutput, gemm(context, tokens, context.hidden, width)});
  return kernels;
}

/// DeepSeek-V2 section 2.1. Decode runs "absorbed": the up-projections of keys and values are applied to queries and
/// outputs, so that all heads read the latent itself. Prefill expands keys and values of every token it attends to.
KernelList latent(const OperatorContext& context, const LatentAttention& attention, const BatchShape& batch) {
  const std::int64_t tokens = batch.tokens();
  const std::int64_t heads = split(attention.heads, context.tensor_parallel);
  const std::int64_t cache_width = attention.kv_lora_rank + attention.qk_rope_head_dim;
  const std::int64_t query_dim = attention.qk_nope_head_dim + attention.qk_rope_head_dim;
  KernelList kernels;
  const auto project = [&](std::int64_t m, std::int64_t n, std::int64_t k, std::int64_t count = 1) {
    kernels.push_back({StepOperator::kAttentionProjection, gemm(context, m, n, k, count)});
  };
  // Both down-projections in one GEMM; they are not split over the group.
  project(tokens, attention.q_lora_rank + cache_width, context.hidden);
  project(tokens, heads * query_dim, attention.q_lora_rank > 0 ? attention.q_lora_rank : context.hidden);
  kernels.push_back(
      rotate_and_cache(context, tokens, attention.q_lora_rank + heads * attention.qk_rope_head_dim, cache_width));
  if (batch.phase == StepPhase::kDecode) {
    project(tokens, attention.kv_lora_rank, attention.qk_nope_head_dim, heads);
    kernels.push_back({StepOperator::kAttention, LatentGenerationAttention{.sequences = batch.sequences,
                                                                           .keys = batch.keys,
                                                                           .heads = heads,
                                                                           .kv_rank = attention.kv_lora_rank,
                                                                           .rope_dim = attention.qk_rope_head_dim,
                                                                           .kv = context.precision.kv}});
    project(tokens, attention.v_head_dim, attention.kv_lora_rank, heads);
  } else {
    project(batch.sequences * batch.keys, heads * (attention.qk_nope_head_dim + attention.v_head_dim),
            attention.kv_lora_rank);
    kernels.push_back({StepOperator::kAttention, ContextAttention{.sequences = batch.sequences,
                                                                  .query = batch.query,
                                                                  .keys = batch.keys,
                                                                  .heads = heads,
                                                                  .kv_heads = heads,
                                                                  .qk_head_dim = query_dim,
                                                                  .v_head_dim = attention.v_head_dim,
                                                                  .window = 0,
                                                                  .kv = context.precision.activations,
                                                                  .mask = batch.mask}});
  }
  kernels.push_back(
      {StepOperator::kAttentionOutput, gemm(context, tokens, context.hidden, heads * attention.v_head_dim)});
  return kernels;
}

/// Gated DeltaNet and lightning attention: the state [value heads, key dim, value dim] is read and written once per
/// token in decode, once per chunk of 64 tokens in prefill (chunkwise form, arXiv 2412.06464 section 3.3).
KernelList linear(const OperatorContext& context, const LinearAttention& attention, const BatchShape& batch) {
  constexpr std::int64_t kChunk = 64;
  const std::int64_t tokens = batch.tokens();
  const std::int64_t value_heads = split(attention.value_heads, context.tensor_parallel);
  const std::int64_t key_heads = split(attention.key_heads, context.tensor_parallel);
  const std::int64_t value_width = value_heads * attention.value_head_dim;
  const std::int64_t mixed = 2 * key_heads * attention.key_head_dim + value_width;
  const DataType type = context.precision.activations;
  KernelList kernels;
  kernels.push_back({StepOperator::kAttentionProjection, gemm(context, tokens,
                                                              mixed + (attention.output_gate ? value_width : 0) +
                                                                  (attention.decay_gates ? 2 * value_heads : 0),
                                                              context.hidden)});
  if (attention.convolution > 0) {
    kernels.push_back({StepOperator::kAttentionProjection,
                       Streaming{elements(tokens * mixed, type), elements(tokens * mixed, type),
                                 flops(2.0 * static_cast<double>(tokens * mixed * attention.convolution))}});
  }
  const std::int64_t state = value_heads * attention.key_head_dim * attention.value_head_dim;
  const std::int64_t visits = batch.sequences * ((batch.query + kChunk - 1) / kChunk);
  const Bytes state_bytes = bytes(4.0 * static_cast<double>(state * visits));  // fp32
  kernels.push_back({StepOperator::kRecurrence, Streaming{state_bytes + elements(tokens * mixed, type),
                                                          state_bytes + elements(tokens * value_width, type),
                                                          flops(6.0 * static_cast<double>(state * tokens))}});
  kernels.push_back({StepOperator::kAttentionOutput, gemm(context, tokens, context.hidden, value_width)});
  return kernels;
}

/// The input's share of the gates is one GEMM over all tokens; the recurrent share is one small GEMM per time step,
/// since each needs the output before it.
KernelList lstm(const OperatorContext& context, const Lstm& layer, const BatchShape& batch) {
  const std::int64_t tokens = batch.tokens();
  const std::int64_t output = layer.projection > 0 ? layer.projection : layer.units;
  const auto steps = static_cast<std::uint32_t>(batch.query);
  const std::int64_t gates = 4 * static_cast<std::int64_t>(layer.units);
  const DataType type = context.precision.activations;
  KernelList kernels;
  kernels.push_back({StepOperator::kRecurrence, gemm(context, tokens, gates, context.hidden)});
  kernels.push_back({StepOperator::kRecurrence, gemm(context, batch.sequences, gates, output), steps});
  kernels.push_back({StepOperator::kRecurrence,
                     Streaming{elements(batch.sequences * (gates + layer.units), type),
                               elements(batch.sequences * 2 * layer.units, type),
                               flops(10.0 * static_cast<double>(batch.sequences * layer.units))},
                     steps});
  if (layer.projection > 0) {
    kernels.push_back({StepOperator::kRecurrence, gemm(context, batch.sequences, output, layer.units), steps});
  }
  return kernels;
}

/// Type in which a GEMM with weights of type `weight` takes its other operand: 8-bit weights want 8-bit inputs,
/// 4-bit weights are multiplied with the activations as they are.
DataType input_type(const OperatorContext& context, DataType weight) {
  const bool eight_bit = weight == DataType::kFp8 || weight == DataType::kFp8Block || weight == DataType::kInt8;
  return eight_bit ? weight : context.precision.activations;
}

/// SwiGLU, GEGLU or a plain activation between the two GEMMs of a feed-forward block, with the quantisation of its
/// output for the second.
OperatorKernel activation_kernel(const OperatorContext& context, StepOperator op, DataType weight, std::int64_t rows,
                                 std::int64_t width, std::int64_t up_matrices) {
  return {op, Streaming{elements(rows * width * up_matrices, context.precision.activations),
                        elements(rows * width, input_type(context, weight)),
                        flops(5.0 * static_cast<double>(rows * width))}};
}

KernelList feed_forward(const OperatorContext& context, StepOperator op, std::int64_t rows, std::int64_t width,
                        std::int64_t up_matrices) {
  if (rows == 0 || width == 0) {
    return {};
  }
  return {{op, gemm(context, rows, width * up_matrices, context.hidden)},
          activation_kernel(context, op, context.weights, rows, width, up_matrices),
          {op, gemm(context, rows, context.hidden, width)}};
}

}  // namespace

OperatorKernel norm_kernel(const OperatorContext& context, std::int64_t tokens) {
  const Bytes rows = elements(tokens * context.hidden, context.precision.activations);
  return {StepOperator::kNorm,
          Streaming{2.0 * rows, 2.0 * rows, flops(6.0 * static_cast<double>(tokens * context.hidden))}};
}

KernelList mixer_kernels(const OperatorContext& context, const Mixer& mixer, const BatchShape& batch) {
  return std::visit(Overloaded{[&](const GroupedQueryAttention& m) { return grouped_query(context, m, batch); },
                               [&](const LatentAttention& m) { return latent(context, m, batch); },
                               [&](const LinearAttention& m) { return linear(context, m, batch); },
                               [&](const Lstm& m) { return lstm(context, m, batch); }},
                    mixer);
}

KernelList cross_attention_kernels(const OperatorContext& context, const GroupedQueryAttention& attention,
                                   const BatchShape& batch) {
  const std::int64_t tokens = batch.tokens();
  const std::int64_t heads = split(attention.heads, context.tensor_parallel);
  const std::int64_t kv_heads = split(attention.kv_heads, context.tensor_parallel);
  const std::int64_t width = heads * attention.head_dim;
  return {{StepOperator::kAttentionProjection, gemm(context, tokens, width, context.hidden)},
          {StepOperator::kAttention, GenerationAttention{.sequences = tokens,
                                                         .keys = batch.keys,
                                                         .heads = heads,
                                                         .kv_heads = kv_heads,
                                                         .head_dim = attention.head_dim,
                                                         .window = 0,
                                                         .kv = context.precision.kv}},
          {StepOperator::kAttentionOutput, gemm(context, tokens, context.hidden, width)}};
}

KernelList dense_kernels(const OperatorContext& context, const DenseFeedForward& dense, std::int64_t tokens) {
  return feed_forward(context, StepOperator::kDenseFeedForward, tokens,
                      split(dense.intermediate, context.tensor_parallel), dense.gated ? 2 : 1);
}

KernelList router_kernels(const OperatorContext& context, const MixtureOfExperts& moe, std::int64_t tokens) {
  // Routers run in bf16 or wider whatever the precision of the rest (Switch, arXiv 2101.03961, section 2.4).
  Gemm scores = gemm(context, tokens, moe.experts, context.hidden);
  scores.weight = context.precision.embedding;
  scores.activation = DataType::kFp32;
  const double cells = static_cast<double>(tokens) * moe.experts;
  const double chosen = static_cast<double>(tokens) * moe.experts_per_token;
  return {{StepOperator::kRouter, scores},
          {StepOperator::kRouter, Streaming{bytes(4.0 * cells), bytes(8.0 * chosen), flops(5.0 * cells)}}};
}

KernelList expert_kernels(const OperatorContext& context, const MixtureOfExperts& moe, std::vector<std::int64_t> rows,
                          const ExpertArrival& arrival, int ways) {
  if (std::all_of(rows.begin(), rows.end(), [](std::int64_t count) { return count == 0; })) {
    return {};
  }
  Experts experts{.rows = std::move(rows),
                  .tokens = arrival.tokens,
                  .experts = moe.experts,
                  .experts_per_token = moe.experts_per_token,
                  .hidden = context.hidden,
                  .intermediate = split(moe.intermediate, ways),
                  .up_matrices = moe.gated ? 2 : 1,
                  .weight = context.expert_weights,
                  .activation = context.precision.activations,
                  .layout = arrival.layout};
  if (arrival.layout != ExpertLayout::kContiguous) {
    experts.tokens = tokens_of_all_ranks(experts);
  }
  return {{StepOperator::kExperts, std::move(experts)}};
}

KernelList shared_expert_kernels(const OperatorContext& context, const MixtureOfExperts& moe, std::int64_t tokens,
                                 int ways) {
  return feed_forward(context, StepOperator::kSharedExperts, tokens, split(moe.shared_intermediate, ways),
                      moe.gated ? 2 : 1);
}

OperatorKernel permute_kernel(const OperatorContext& context, std::int64_t tokens, std::int64_t rows,
                              DataType arrived) {
  const DataType wanted = input_type(context, context.expert_weights);
  return {StepOperator::kPermute,
          Streaming{elements(tokens * context.hidden, arrived), elements(rows * context.hidden, wanted), flops(0.0)}};
}

OperatorKernel unpermute_kernel(const OperatorContext& context, std::int64_t tokens, std::int64_t rows, DataType sent) {
  return {StepOperator::kPermute,
          Streaming{elements(rows * context.hidden, context.precision.activations),
                    elements(tokens * context.hidden, sent), flops(2.0 * static_cast<double>(rows * context.hidden))}};
}

KernelList quantise_kernels(const OperatorContext& context, std::int64_t tokens, DataType to) {
  const DataType from = context.precision.activations;
  if (to == from || tokens == 0) {
    return {};
  }
  return {
      {StepOperator::kPermute, Streaming{elements(tokens * context.hidden, from), elements(tokens * context.hidden, to),
                                         flops(2.0 * static_cast<double>(tokens * context.hidden))}}};
}

KernelList cross_cache_kernels(const OperatorContext& context, const GroupedQueryAttention& attention,
                               std::int64_t tokens) {
  const std::int64_t width = 2 * split(attention.kv_heads, context.tensor_parallel) * attention.head_dim;
  return {{StepOperator::kAttentionProjection, gemm(context, tokens, width, context.hidden)}};
}

OperatorKernel embedding_kernel(const OperatorContext& context, std::int64_t tokens) {
  const Bytes rows = elements(tokens * context.hidden, context.precision.activations);
  return {StepOperator::kEmbedding, Streaming{rows, rows, flops(0.0)}};
}

KernelList head_kernels(const OperatorContext& context, int vocabulary, std::int64_t sequences) {
  if (vocabulary == 0 || sequences == 0) {
    return {};
  }
  const std::int64_t columns = split(vocabulary, context.tensor_parallel);
  Gemm logits = gemm(context, sequences, columns, context.hidden);
  logits.weight = context.precision.embedding;
  logits.activation = DataType::kFp32;
  const double cells = static_cast<double>(sequences * vocabulary);  // gathered before, where ranks share them
  OperatorKernel norm = norm_kernel(context, sequences);
  norm.op = StepOperator::kLmHead;
  return {norm,
          {StepOperator::kLmHead, logits},
          {StepOperator::kSampling,
           Streaming{bytes(4.0 * cells), bytes(8.0 * static_cast<double>(sequences)), flops(4.0 * cells)}}};
}

}  // namespace moesim
