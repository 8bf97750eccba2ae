#include <algorithm>
#include <cmath>
#include <variant>

#include "sim/core/quantity.hpp"
#include "sim/program/operator_parts.hpp"

namespace moesim {

namespace {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

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
  if (attention.qk_norm && attention.qk_norm_width == NormWidth::kAllHeads) {
    // Sums of squares over a rank's heads, [tokens, 2]; the gains are applied as queries and keys are rotated.
    const std::int64_t squared = tokens * (width + kv_width / 2);
    kernels.push_back({StepOperator::kAttentionProjection,
                       Streaming{elements(squared, context.precision.activations),
                                 bytes(8.0 * static_cast<double>(tokens)), flops(2.0 * static_cast<double>(squared))}});
  }
  kernels.push_back(rotate_and_cache(context, tokens, width, kv_width));
  const bool chunked = attention.window && attention.window_kind == WindowKind::kChunked;
  const std::int64_t window = chunked ? 0 : attention.window.value_or(0);
  if (batch.phase == StepPhase::kDecode) {
    for (const Stretch& stretch : stretches(batch, chunked ? *attention.window : 0)) {
      kernels.push_back({StepOperator::kAttention, GenerationAttention{.sequences = stretch.sequences,
                                                                       .query = stretch.query,
                                                                       .keys = stretch.keys,
                                                                       .heads = heads,
                                                                       .kv_heads = kv_heads,
                                                                       .head_dim = attention.head_dim,
                                                                       .window = window,
                                                                       .kv = context.precision.kv}});
    }
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
  if (attention.output_gate) {  // sigmoid and product
    const DataType type = context.precision.activations;
    kernels.push_back(
        {StepOperator::kAttentionOutput, Streaming{elements(2 * tokens * width, type), elements(tokens * width, type),
                                                   flops(5.0 * static_cast<double>(tokens * width))}});
  }
  kernels.push_back({StepOperator::kAttentionOutput, gemm(context, tokens, context.hidden, width)});
  return kernels;
}

/// Whether attention reads all keys, heads by themselves, though there is an indexer: prompts no longer than what it
/// selects. Not those of wider value heads than DeepSeek's on Blackwell, whose kernels for whole heads do not take
/// them: GLM-5's prompts run absorbed and sparse there, however short (SGLang's server_args.py sets the dense threshold
/// of GlmMoeDsaForCausalLM to 0).
bool reads_all_keys(const OperatorContext& context, const LatentAttention& attention, const BatchShape& batch) {
  constexpr int kBlackwell = 100;
  constexpr int kWidestDense = 128;
  return batch.phase == StepPhase::kPrefill && batch.keys <= attention.indexer->selected &&
         (context.compute_capability < kBlackwell || attention.v_head_dim <= kWidestDense);
}

/// Query heads that a kernel of sparse attention over a prompt computes: on Hopper FlashMLA's take them by 64, and
/// servers fill them up (_forward_flashmla_sparse of SGLang's nsa_backend.py).
std::int64_t filled_heads(const OperatorContext& context, std::int64_t heads) {
  constexpr int kHopper = 90;
  constexpr int kGeneration = 10;
  constexpr std::int64_t kHeads = 64;
  return context.compute_capability / kGeneration * kGeneration == kHopper ? (heads + kHeads - 1) / kHeads * kHeads
                                                                           : heads;
}

/// Which keys attention should read, as SGLang and vLLM find out (sglang/srt/layers/attention/nsa/nsa_indexer.py;
/// DeepSeek-V3.2-Exp, inference/model.py, class Indexer), every rank for itself: nothing of it is split over the group.
/// Queries and keys are rotated, turned by a Hadamard matrix and quantised to fp8: a kernel for each of the three, of
/// which those for keys run beside those for queries. Keys go to a cache of their own; heads' weights, from a product
/// with the keys' (vLLM's, in 16 bits), are scaled with the queries' scales. Where all keys are read, they are cached
/// all the same, and that is all (_forward_cuda_k_only).
void index_keys(KernelList& kernels, const OperatorContext& context, const LatentAttention& attention,
                const BatchShape& batch) {
  const bool scored = !reads_all_keys(context, attention, batch);
  const SparseIndexer& indexer = *attention.indexer;
  const DataType type = context.precision.activations;
  const std::int64_t tokens = batch.tokens();
  const std::int64_t width = indexer.head_dim;
  const std::int64_t heads = scored ? indexer.heads : 0;
  const std::int64_t queries = tokens * heads * width;
  const auto stream = [&](Bytes read, Bytes written, double work) {
    kernels.push_back({StepOperator::kIndexer, Streaming{read, written, flops(work)}});
  };
  if (scored) {
    kernels.push_back({StepOperator::kIndexer, gemm(context, tokens, heads * width, attention.q_lora_rank)});
  }
  kernels.push_back({StepOperator::kIndexer, plain_gemm(context, tokens, width + heads, context.hidden)});
  const std::int64_t both = queries + tokens * width;
  stream(elements(both, type), elements(both, type), 6.0 * static_cast<double>(both));
  stream(elements(both, type), elements(both, type), std::log2(width) * static_cast<double>(both));
  stream(elements(both, type), elements(both, DataType::kFp8Block), 2.0 * static_cast<double>(both));
  stream(elements(tokens * width, DataType::kFp8Block), elements(tokens * width, DataType::kFp8Block), 0.0);
  if (!scored) {
    return;
  }
  const std::int64_t weights = tokens * heads;
  stream(elements(2 * weights, DataType::kFp32), elements(weights, DataType::kFp32), static_cast<double>(weights));
  kernels.push_back(
      {StepOperator::kIndexer,
       IndexScores{
           .sequences = batch.sequences, .query = batch.query, .keys = batch.keys, .heads = heads, .width = width}});
  const double scores = static_cast<double>(batch.sequences) * attended_pairs(batch.query, batch.keys, 0);
  stream(bytes(4.0 * scores), bytes(4.0 * static_cast<double>(tokens * indexer.selected)), scores);
}

/// DeepSeek-V2 section 2.1. Decode runs "absorbed": the up-projections of keys and values are applied to queries and
/// outputs, so that all heads read the latent itself. Prefill expands keys and values of every token it attends to.
/// With an indexer, decode and longer prompts attend, absorbed, to the selected keys alone.
KernelList latent(const OperatorContext& context, const LatentAttention& attention, const BatchShape& batch) {
  const std::int64_t tokens = batch.tokens();
  const std::int64_t heads = split(attention.heads, context.tensor_parallel);
  const std::int64_t cache_width = attention.kv_lora_rank + attention.qk_rope_head_dim;
  const std::int64_t query_dim = attention.qk_nope_head_dim + attention.qk_rope_head_dim;
  const std::int64_t selected = attention.indexer ? attention.indexer->selected : batch.keys;
  KernelList kernels;
  const auto project = [&](std::int64_t m, std::int64_t n, std::int64_t k, std::int64_t count = 1) {
    kernels.push_back({StepOperator::kAttentionProjection, gemm(context, m, n, k, count)});
  };
  // Both down-projections in one GEMM; they are not split over the group.
  project(tokens, attention.q_lora_rank + cache_width, context.hidden);
  project(tokens, heads * query_dim, attention.q_lora_rank > 0 ? attention.q_lora_rank : context.hidden);
  kernels.push_back(
      rotate_and_cache(context, tokens, attention.q_lora_rank + heads * attention.qk_rope_head_dim, cache_width));
  if (attention.indexer) {
    index_keys(kernels, context, attention, batch);
  }
  const bool decodes = batch.phase == StepPhase::kDecode;
  if (decodes || (attention.indexer && !reads_all_keys(context, attention, batch))) {
    project(tokens, attention.kv_lora_rank, attention.qk_nope_head_dim, heads);
    if (decodes) {
      // What an indexer selects is each token's own: sparse kernels take them one by one.
      const bool apart = attention.indexer.has_value();
      kernels.push_back(
          {StepOperator::kAttention, LatentGenerationAttention{.sequences = apart ? tokens : batch.sequences,
                                                               .query = apart ? 1 : batch.query,
                                                               .keys = std::min(batch.keys, selected),
                                                               .heads = heads,
                                                               .kv_rank = attention.kv_lora_rank,
                                                               .rope_dim = attention.qk_rope_head_dim,
                                                               .kv = context.precision.kv}});
    } else {
      kernels.push_back({StepOperator::kAttention, ContextAttention{.sequences = batch.sequences,
                                                                    .query = batch.query,
                                                                    .keys = batch.keys,
                                                                    .heads = filled_heads(context, heads),
                                                                    .kv_heads = 1,
                                                                    .qk_head_dim = cache_width,
                                                                    .v_head_dim = attention.kv_lora_rank,
                                                                    .window = selected,
                                                                    .kv = context.precision.activations,
                                                                    .mask = batch.mask,
                                                                    .scattered = true}});
    }
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
/// token in decode, once per chunk of 64 tokens in prefill (chunkwise form, arXiv 2412.06464 section 3.3). Around it
/// run, as in vLLM's and SGLang's Qwen3-Next (qwen3_next.py, Qwen3GatedDeltaNet): decay and write strength by a GEMM of
/// their own, in 16 bits; what the projections wrote brought into q, k, v, gate; the convolution; and the norm of the
/// output with its gate. In decode the gates' sigmoids and q's and k's norms are part of the recurrence's kernel. Where
/// that verifies drafts, it writes the state after each token, of which the last accepted one's is copied to the
/// sequence's place (SGLang, mem_cache/memory_pool.py, intermediate_ssm; update_mamba_state_after_mtp_verify).
KernelList linear(const OperatorContext& context, const LinearAttention& attention, const BatchShape& batch) {
  constexpr std::int64_t kChunk = 64;
  const std::int64_t tokens = batch.tokens();
  const std::int64_t value_heads = split(attention.value_heads, context.tensor_parallel);
  const std::int64_t key_heads = split(attention.key_heads, context.tensor_parallel);
  const std::int64_t value_width = value_heads * attention.value_head_dim;
  const std::int64_t mixed = 2 * key_heads * attention.key_head_dim + value_width;
  const std::int64_t gate = attention.output_gate ? value_width : 0;
  const DataType type = context.precision.activations;
  KernelList kernels;
  const auto stream = [&](StepOperator op, std::int64_t read, std::int64_t written, double work) {
    kernels.push_back({op, Streaming{elements(read, type), elements(written, type), flops(work)}});
  };
  kernels.push_back({StepOperator::kAttentionProjection, gemm(context, tokens, mixed + gate, context.hidden)});
  if (attention.decay_gates) {
    const std::int64_t gates = 2 * value_heads;
    kernels.push_back({StepOperator::kAttentionProjection, plain_gemm(context, tokens, gates, context.hidden)});
    const std::int64_t all = tokens * (mixed + gate + gates);
    stream(StepOperator::kAttentionProjection, all, all, 0.0);
  }
  if (attention.convolution > 0) {  // which keeps the last inputs of each sequence
    const std::int64_t kept = batch.sequences * (attention.convolution - 1) * mixed;
    stream(StepOperator::kAttentionProjection, tokens * mixed + kept, tokens * mixed + kept,
           2.0 * static_cast<double>(tokens * mixed * attention.convolution));
  }
  const std::int64_t state = value_heads * attention.key_head_dim * attention.value_head_dim;
  const std::int64_t visits = batch.sequences * ((batch.query + kChunk - 1) / kChunk);
  const bool verifies = batch.phase == StepPhase::kDecode && batch.query > 1;
  const Bytes one_state = static_cast<double>(state) * element_size(context.precision.state);
  const Bytes state_bytes = static_cast<double>(state * visits) * element_size(context.precision.state);
  const Bytes written = verifies ? static_cast<double>(tokens) * one_state : state_bytes;
  kernels.push_back({StepOperator::kRecurrence, Streaming{state_bytes + elements(tokens * mixed, type),
                                                          written + elements(tokens * value_width, type),
                                                          flops(6.0 * static_cast<double>(state * tokens))}});
  if (verifies) {
    const Bytes accepted = static_cast<double>(batch.sequences) * one_state;
    kernels.push_back({StepOperator::kRecurrence, Streaming{accepted, accepted, flops(0.0)}});
  }
  stream(StepOperator::kRecurrence, tokens * (value_width + gate), tokens * value_width,
         8.0 * static_cast<double>(tokens * value_width));
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

}  // namespace

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

KernelList cross_cache_kernels(const OperatorContext& context, const GroupedQueryAttention& attention,
                               std::int64_t tokens) {
  const std::int64_t width = 2 * split(attention.kv_heads, context.tensor_parallel) * attention.head_dim;
  return {{StepOperator::kAttentionProjection, gemm(context, tokens, width, context.hidden)}};
}

}  // namespace moesim
