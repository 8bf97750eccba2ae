#include <algorithm>
#include <variant>

#include "models/memory/memory.hpp"
#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"

namespace moesim {
namespace {

/// Parameters of an attention or recurrent layer that every tensor-parallel rank holds whole. Heads are split; what
/// all heads read is not:
///   grouped-query: with g KV heads on TP > g ranks a rank holds one of them, which is 1 − g/TP more than its share,
///   each of 2·hidden·d parameters; expressed as the parameters whose replication adds as much, that is
///   (1 − g/TP)·2·hidden·d / (1 − 1/TP);
///   latent: the down-projections hidden·(r_q + r_kv + rope) and the latents' norms r_q + r_kv; the whole indexer.
double replicated_parameters(const GroupedQueryAttention& a, double hidden, double ranks) {
  const double heads = a.kv_heads;
  const double held = std::max(1.0, heads / ranks);
  return (held - heads / ranks) * 2.0 * hidden * a.head_dim * ranks / (ranks - 1.0);
}
double replicated_parameters(const LatentAttention& a, double hidden, double) {
  const double ranks_of_latents = a.q_lora_rank + a.kv_lora_rank;
  const double indexer = a.indexer ? indexer_parameters(*a.indexer, a.q_lora_rank, hidden) : 0.0;
  return hidden * (ranks_of_latents + a.qk_rope_head_dim) + ranks_of_latents + indexer;
}
double replicated_parameters(const LinearAttention&, double, double) { return 0.0; }
double replicated_parameters(const Lstm&, double, double) { return 0.0; }

/// Elements of the up-projections of keys and values that generation multiplies queries and outputs with. Prompts read
/// them as the checkpoint has them, quantised in blocks with the rest of their matrix; cut by heads they are kept once
/// more (vLLM's W_UK_T and W_UV, SGLang's w_kc and w_vc). In 16 bits they are views of the same memory.
double absorbed_parameters(const Block& block, int tensor_parallel) {
  const auto* latent = std::get_if<LatentAttention>(&block.mixer);
  return latent == nullptr ? 0.0
                           : static_cast<double>(latent->heads) / tensor_parallel *
                                 (latent->qk_nope_head_dim + latent->v_head_dim) * latent->kv_lora_rank;
}

}  // namespace

double mixer_parameters_per_rank(const Block& block, int hidden, int tensor_parallel) {
  const double total = mixer_parameters(block, hidden);
  if (tensor_parallel == 1) {
    return total;
  }
  const double ranks = tensor_parallel;
  double replicated = std::visit([&](const auto& m) { return replicated_parameters(m, hidden, ranks); }, block.mixer);
  if (block.cross_attention) {
    replicated += replicated_parameters(*block.cross_attention, hidden, ranks);
  }
  return total / ranks + replicated * (1.0 - 1.0 / ranks);
}

std::array<MemoryFootprint::Part, 13> MemoryFootprint::parts() const {
  return {{{"embedding and LM head", embedding},
           {"attention weights", mixer_weights},
           {"dense feed-forward weights", dense_weights},
           {"router", router},
           {"shared expert weights", shared_expert_weights},
           {"expert weights", expert_weights},
           {"other weights", other_weights},
           {kDraftModules, draft_modules},
           {"KV cache", kv_cache},
           {"recurrent state", recurrent_state},
           {"activations", activations},
           {"communication buffers", communication_buffers},
           {"reserve", reserve}}};
}

Bytes MemoryFootprint::total() const {
  Bytes sum;
  for (const Part& part : parts()) {
    sum += part.size;
  }
  return sum;
}

Bytes MemoryFootprint::weights() const {
  return embedding + mixer_weights + dense_weights + router + shared_expert_weights + expert_weights + other_weights +
         draft_modules;
}

namespace {

/// Bytes of an element by what a matrix is part of.
struct ElementSizes {
  Bytes matrix;
  Bytes expert;
  Bytes attention;
  Bytes plain;
};

ElementSizes element_sizes(const MemoryRequest& request) {
  const ReleasedTypes released = request.model.architecture().released();
  return {.matrix = element_size(request.precision.matrix_weights(released)),
          .expert = element_size(request.precision.expert_weights(released)),
          .attention = element_size(request.precision.attention_weights(released)),
          .plain = element_size(request.precision.embedding)};
}

void add_blocks(MemoryFootprint& out, const MemoryRequest& request, const Layer& layer) {
  const int hidden = request.model.architecture().hidden;
  const ElementSizes sizes = element_sizes(request);
  out.mixer_weights += mixer_parameters_per_rank(*layer.block, hidden, request.tensor_parallel) * sizes.attention;
  if (sizes.attention < bytes(2.0)) {
    out.mixer_weights += absorbed_parameters(*layer.block, request.tensor_parallel) * sizes.attention;
  }
  if (const MixtureOfExperts* moe = layer.moe()) {
    const auto slots = static_cast<double>(request.expert_slots[*layer.moe_index]);
    out.router += router_parameters(*moe, hidden) * sizes.plain;
    out.shared_expert_weights += shared_expert_parameters(*moe, hidden) / request.shared_tensor_parallel * sizes.matrix;
    out.expert_weights += slots * expert_parameters(*moe, hidden) / request.expert_tensor_parallel * sizes.expert;
  } else {
    out.dense_weights += dense_parameters(std::get<DenseFeedForward>(layer.block->feed_forward), hidden) /
                         static_cast<double>(request.tensor_parallel) * sizes.matrix;
  }
}

/// A layer of the model's last kind, its experts placed as that layer's; what is before it and its norms are on every
/// rank, in the type of the embedding.
Bytes draft_weights(const MemoryRequest& request) {
  const int modules = draft_modules(request);
  if (modules == 0) {
    return {};
  }
  MemoryFootprint one;
  add_blocks(one, request, *draft_layer(request.model));
  return modules * (one.weights() + draft_input_parameters(request.model) * element_sizes(request).plain);
}

}  // namespace

/// Weights: parameters by part (models/architecture) times bytes of an element; attention, dense and shared blocks,
/// embedding and LM head split over the tensor-parallel ranks, routed experts by slot, router and norms on every rank;
/// quantised latent attention's up-projections twice. Where drafts are verified, a recurrent layer's state after each
/// token is kept beside a sequence's own until it is known which are accepted (SGLang, mem_cache/memory_pool.py,
/// intermediate_ssm).
MemoryFootprint footprint(const MemoryRequest& request) {
  const Model& model = request.model;
  ensure(request.tensor_parallel >= 1 && request.expert_tensor_parallel >= 1, "no ranks to share weights");
  ensure(request.expert_slots.size() == model.moe_layers(), "expert slots are not given for every MoE layer");
  const Bytes plain = element_sizes(request).plain;
  const ParameterCount all = total_parameters(model);

  MemoryFootprint out;
  out.embedding = all.embedding / static_cast<double>(request.tensor_parallel) * plain;
  out.other_weights = (all.norms + all.extra) * plain;
  for (const Layer& layer : model.layers()) {
    add_blocks(out, request, layer);
  }
  out.draft_modules = draft_weights(request);
  const auto sequences = static_cast<double>(request.sequences);
  const double states = request.draft_tokens > 0 ? 2.0 + request.draft_tokens : 1.0;
  out.kv_cache = sequences * kv_bytes_per_sequence(request);
  out.recurrent_state =
      sequences * states * recurrent_bytes_per_sequence(model, request.precision, request.tensor_parallel);
  out.activations = activation_bytes(request);
  out.communication_buffers = communication_buffer_bytes(request);
  out.reserve = request.reserve;
  return out;
}

}  // namespace moesim
