#include "models/memory/training.hpp"

#include <algorithm>
#include <variant>

#include "models/kernels/kernel.hpp"
#include "models/memory/memory.hpp"
#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"

/// Activations kept per token of a tensor-parallel group, of which a rank has 1/TP (sequence parallelism, Korthikanti
/// et al. 2022, arXiv 2205.05198). a: bytes of an activation (16 bits), c: of a product's operand (8 bits where
/// products are, since Transformer Engine and DeepSeek-V3, report 3.3.3, keep the operands they quantised):
///   norms        h·a each (input), h·c (output, the operand of what follows)           output not with kSelective
///   grouped      (n + 2·g)·d·a (q, k, v), n·d·a (output, as FlashAttention keeps it), n·4 (log-sum-exp), n·d·c where
///                the output's operand is narrower; (n + g)·d·a before norms over heads
///   latent       (r_q + r_kv + rope)·a (latents), (r_q + r_kv)·c (normed), n·(2·(nope + rope) + v)·a (q, k, v; these
///   and
///                the normed not with kSelective), n·v·a, n·4, n·v·c as above
///   linear       2·key heads·d_k + 3·value heads·d_v of a (q, k, v, gate, output)
///   feed-forward i·m·a (outputs of the m inward matrices), i·c (operand of the outward one; not with kSelective)
///   experts      k times that and h·c (rows), 4·E·2 (scores and probabilities)
/// n heads, g key-value heads, d their width, r ranks of latents, i inner width, m its inward matrices, E experts, k of
/// them per token. No dropout. Of multi-head attention and an ungated block it is s·b·h·(16 + 4·ffn/h) and the
/// log-sum-exp in 16 bits: Korthikanti's s·b·h·(18 + 4·ffn/h) without two masks of dropout.
/// Where inputs of activation functions and outputs of attention are kept in a narrower type (DeepSeek-V3, report
/// 3.3.3), a is that type's there, and attention's output needs no copy.
namespace moesim {

namespace {

template <class... Visitors>
struct Visitor : Visitors... {
  using Visitors::operator()...;
};

/// Bytes per token of one layer.
struct LayerBytes {
  const TrainingMemoryRequest& request;
  KeptActivations kept;

  [[nodiscard]] double plain() const { return activation_element_size(request.precision.activations).base(); }
  /// Of an operand of products with weights of this type.
  [[nodiscard]] double operand(DataType weights) const {
    return std::min(plain(), activation_element_size(weights).base());
  }
  [[nodiscard]] double recomputed(double size) const { return kept == KeptActivations::kAll ? size : 0.0; }
  /// Of what is kept in a narrower type, where it is.
  [[nodiscard]] double narrow() const {
    return request.kept_type ? std::min(plain(), activation_element_size(*request.kept_type).base()) : plain();
  }
  /// An output that attention keeps, and its copy for the product behind it.
  [[nodiscard]] double attention_output(double width, double heads, DataType weights) const {
    if (request.kept_type) {
      return width * narrow() + 4.0 * heads;
    }
    const double copy = operand(weights) < plain() ? operand(weights) : 0.0;
    return width * (plain() + copy) + 4.0 * heads;
  }

  [[nodiscard]] double grouped(const GroupedQueryAttention& a, DataType weights) const {
    const double queries = static_cast<double>(a.heads) * a.head_dim;
    const double keys = static_cast<double>(a.kv_heads) * a.head_dim;
    const double normed = a.qk_norm ? recomputed((queries + keys) * plain()) : 0.0;
    return (queries + 2.0 * keys) * plain() + normed + attention_output(queries, a.heads, weights);
  }
  [[nodiscard]] double mixer(const Mixer& mixer, DataType weights) const {
    return std::visit(Visitor{[&](const GroupedQueryAttention& a) { return grouped(a, weights); },
                              [&](const LatentAttention& a) {
                                const double ranks = static_cast<double>(a.q_lora_rank) + a.kv_lora_rank;
                                const double head = a.qk_nope_head_dim + a.qk_rope_head_dim;
                                return (ranks + a.qk_rope_head_dim) * plain() + recomputed(ranks * operand(weights)) +
                                       recomputed(a.heads * (2.0 * head + a.v_head_dim) * plain()) +
                                       attention_output(static_cast<double>(a.heads) * a.v_head_dim, a.heads, weights);
                              },
                              [&](const LinearAttention& a) {
                                return plain() *
                                       (2.0 * a.key_heads * a.key_head_dim + 3.0 * a.value_heads * a.value_head_dim);
                              },
                              [&](const Lstm& a) { return 6.0 * a.units * plain(); }},
                      mixer);
  }
  [[nodiscard]] double inner(double width, bool gated, DataType weights) const {
    return width * (gated ? 2.0 : 1.0) * narrow() + recomputed(width * operand(weights));
  }
  [[nodiscard]] double feed_forward(const FeedForward& block) const {
    const ReleasedTypes released = request.model.architecture().released();
    const DataType dense_type = request.precision.matrix_weights(released);
    if (const auto* dense = std::get_if<DenseFeedForward>(&block)) {
      return inner(dense->intermediate, dense->gated, dense_type);
    }
    const auto& moe = std::get<MixtureOfExperts>(block);
    const DataType type = request.precision.expert_weights(released);
    const double hidden = request.model.architecture().hidden;
    const double rows = moe.experts_per_token * request.expert_load;
    return rows * (hidden * operand(type) + inner(moe.intermediate, moe.gated, type)) + 8.0 * moe.experts +
           inner(moe.shared_intermediate, moe.gated, dense_type);
  }
  [[nodiscard]] double layer(const Block& block) const {
    const double hidden = request.model.architecture().hidden;
    if (kept == KeptActivations::kLayerInputs) {
      return hidden * plain();
    }
    const ReleasedTypes released = request.model.architecture().released();
    const DataType attention = request.precision.attention_weights(released);
    const double norms = 2.0 * (hidden * plain() + recomputed(hidden * operand(attention)));
    return norms + mixer(block.mixer, attention) + feed_forward(block.feed_forward);
  }
};

Bytes of_tokens(const TrainingMemoryRequest& request, double per_token) {
  return bytes(per_token * static_cast<double>(request.tokens) / request.tensor_parallel);
}

bool has_experts(const Block& block) { return std::holds_alternative<MixtureOfExperts>(block.feed_forward); }

/// What is kept of a parameter for products: in the model's own type, and where products are in 8 bits two casts of
/// it, one for each direction (row- and column-wise scales; Hopper's 8-bit products want both operands transposed
/// alike, so that Transformer Engine keeps the transposed, too). A model that keeps 8 bits has one of the two as such.
Bytes weight_bytes(DataType parameters, DataType computed) {
  const Bytes own = element_size(parameters);
  const Bytes cast = element_size(computed);
  if (computed == DataType::kFp32 || cast >= bytes(2.0)) {
    return own;
  }
  return own <= cast ? 2.0 * cast : own + 2.0 * cast;
}

}  // namespace

std::array<TrainingFootprint::Part, 9> TrainingFootprint::parts() const {
  return {{{"weights", weights},
           {"expert weights", expert_weights},
           {"gradients", gradients},
           {"optimizer states", optimizer},
           {"activations", activations},
           {"logits", logits},
           {"working set", working_set},
           {"communication buffers", communication_buffers},
           {"reserve", reserve}}};
}

Bytes TrainingFootprint::total() const {
  Bytes sum;
  for (const Part& part : parts()) {
    sum += part.size;
  }
  return sum;
}

/// Matrices are split over the tensor-parallel ranks, norms and routers are on each, experts spread over the
/// expert-parallel ranks.
RankParameters rank_parameters(const TrainingMemoryRequest& request, const ChunkInFlight& chunk) {
  const Architecture& architecture = request.model.architecture();
  const int hidden = architecture.hidden;
  const double ranks = request.tensor_parallel;
  RankParameters count;
  for (std::size_t l = chunk.first_layer; l < chunk.last_layer; ++l) {
    const Block& block = *request.model.layers()[l].block;
    count.dense += mixer_parameters_per_rank(block, hidden, request.tensor_parallel) + 2.0 * hidden;
    if (has_experts(block)) {
      const auto& moe = std::get<MixtureOfExperts>(block.feed_forward);
      count.dense += router_parameters(moe, hidden) + shared_expert_parameters(moe, hidden) / ranks;
      count.experts += expert_parameters(moe, hidden) * moe.experts / static_cast<double>(request.expert_parallel);
    } else {
      count.dense += dense_parameters(std::get<DenseFeedForward>(block.feed_forward), hidden) / ranks;
    }
  }
  const double table = static_cast<double>(architecture.vocabulary) * hidden / ranks;
  count.dense += chunk.embeds ? table : 0.0;
  count.dense += chunk.has_head ? hidden : 0.0;
  count.dense += chunk.has_head && !(chunk.embeds && architecture.tied_embeddings) ? table : 0.0;
  return count;
}

Bytes kept_bytes(const TrainingMemoryRequest& request, const ChunkInFlight& chunk) {
  const LayerBytes of{request, request.kept};
  double per_token = chunk.has_head ? 2.0 * request.model.architecture().hidden * of.plain() : 0.0;
  for (std::size_t l = chunk.first_layer; l < chunk.last_layer; ++l) {
    per_token += of.layer(*request.model.layers()[l].block);
  }
  return of_tokens(request, per_token);
}

/// Logits in 16 bits and their softmax in fp32, [tokens, vocabulary/TP], until the loss has gone back through them;
/// what it leaves in place of the logits are their gradients, until those of the head's weights are computed. Working
/// set: what the widest layer has, whatever is kept of it, for each micro-batch that computes, once for itself and once
/// for its gradients (assumed: an allocator's peak inside a layer is not known).
TrainingFootprint training_footprint(const TrainingMemoryRequest& request) {
  const ReleasedTypes released = request.model.architecture().released();
  const DataType weights = request.precision.matrix_weights(released);
  const DataType experts = request.precision.expert_weights(released);
  const LayerBytes whole{request, KeptActivations::kAll};
  const double vocabulary = request.model.architecture().vocabulary;
  const StateTypes& types = request.types;
  const Bytes state = element_size(types.master) + element_size(types.first_moment) + element_size(types.second_moment);
  const bool sharded = request.sharding == OptimizerSharding::kDistributed;
  TrainingFootprint out;
  double widest = 0.0;
  for (const ChunkInFlight& chunk : request.chunks) {
    const RankParameters count = rank_parameters(request, chunk);
    out.weights += count.dense * weight_bytes(types.parameters, weights);
    out.expert_weights += count.experts * weight_bytes(types.parameters, experts);
    out.gradients += (count.dense + count.experts) * element_size(types.gradients);
    out.optimizer += state * (count.dense / static_cast<double>(sharded ? request.data_parallel : 1) +
                              count.experts / static_cast<double>(sharded ? request.expert_data_parallel : 1));
    const auto in_flight = static_cast<double>(chunk.micro_batches);
    out.activations += in_flight * kept_bytes(request, chunk);
    if (chunk.has_head) {
      const auto losses = static_cast<double>(chunk.before_backward.value_or(chunk.micro_batches));
      const Bytes logits =
          of_tokens(request, vocabulary * activation_element_size(request.precision.activations).base());
      const Bytes softmax = of_tokens(request, vocabulary * 4.0);
      out.logits += std::max(1.0, in_flight) * logits + std::max(1.0, losses) * softmax;
    }
    for (std::size_t l = chunk.first_layer; l < chunk.last_layer; ++l) {
      widest = std::max(widest, whole.layer(*request.model.layers()[l].block));
    }
  }
  out.working_set = 2.0 * static_cast<double>(request.at_once) * of_tokens(request, widest);
  out.communication_buffers = request.communication_buffers;
  out.reserve = request.reserve;
  return out;
}

}  // namespace moesim
