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

std::array<MemoryFootprint::Part, 12> MemoryFootprint::parts() const {
  return {{{"embedding and LM head", embedding},
           {"attention weights", mixer_weights},
           {"dense feed-forward weights", dense_weights},
           {"router", router},
           {"shared expert weights", shared_expert_weights},
           {"expert weights", expert_weights},
           {"other weights", other_weights},
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
  return embedding + mixer_weights + dense_weights + router + shared_expert_weights + expert_weights + other_weights;
}

/// Weights: parameters by part (models/architecture) times bytes of an element; attention, dense and shared blocks,
/// embedding and LM head split over the tensor-parallel ranks, routed experts by slot, router and norms on every rank;
/// quantised latent attention's up-projections twice.
MemoryFootprint footprint(const MemoryRequest& request) {
  const Model& model = request.model;
  const Architecture& architecture = model.architecture();
  const int hidden = architecture.hidden;
  const double ranks = request.tensor_parallel;
  ensure(request.tensor_parallel >= 1 && request.expert_tensor_parallel >= 1, "no ranks to share weights");
  ensure(request.expert_slots.size() == model.moe_layers(), "expert slots are not given for every MoE layer");

  const Bytes weight = element_size(request.precision.matrix_weights(architecture.released()));
  const Bytes expert_weight = element_size(request.precision.expert_weights(architecture.released()));
  const Bytes attention_weight = element_size(request.precision.attention_weights(architecture.released()));
  const Bytes plain = element_size(request.precision.embedding);
  const ParameterCount all = total_parameters(model);

  MemoryFootprint out;
  out.embedding = all.embedding / ranks * plain;
  out.other_weights = (all.norms + all.extra) * plain;
  for (const Layer& layer : model.layers()) {
    out.mixer_weights += mixer_parameters_per_rank(*layer.block, hidden, request.tensor_parallel) * attention_weight;
    if (attention_weight < bytes(2.0)) {
      out.mixer_weights += absorbed_parameters(*layer.block, request.tensor_parallel) * attention_weight;
    }
    if (const MixtureOfExperts* moe = layer.moe()) {
      const auto slots = static_cast<double>(request.expert_slots[*layer.moe_index]);
      out.router += router_parameters(*moe, hidden) * plain;
      out.shared_expert_weights += shared_expert_parameters(*moe, hidden) / request.shared_tensor_parallel * weight;
      out.expert_weights += slots * expert_parameters(*moe, hidden) / request.expert_tensor_parallel * expert_weight;
    } else {
      out.dense_weights +=
          dense_parameters(std::get<DenseFeedForward>(layer.block->feed_forward), hidden) / ranks * weight;
    }
  }
  const auto sequences = static_cast<double>(request.sequences);
  out.kv_cache = sequences * kv_bytes_per_sequence(request);
  out.recurrent_state = sequences * recurrent_bytes_per_sequence(model, request.precision, request.tensor_parallel);
  out.activations = activation_bytes(request);
  out.communication_buffers = communication_buffer_bytes(request);
  out.reserve = request.reserve;
  return out;
}

}  // namespace moesim
