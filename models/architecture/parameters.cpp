#include <variant>

#include "models/architecture/architecture.hpp"

/// Parameters from shapes. Matrices are [in, out]; a bias has as many elements as its matrix has outputs.
namespace moesim {

namespace {

template <class... Visitors>
struct Overloaded : Visitors... {
  using Visitors::operator()...;
};

double matrix(double in, double out) { return in * out; }

/// Q [hidden, heads·d] (twice with an output gate), K and V [hidden, kv_heads·d], O [heads·d, hidden].
double parameters(const GroupedQueryAttention& a, double hidden) {
  const double queries = static_cast<double>(a.heads) * a.head_dim;
  const double keys = static_cast<double>(a.kv_heads) * a.head_dim;
  const double projected = queries * (a.output_gate ? 2 : 1) + 2 * keys;
  double count = matrix(hidden, projected) + matrix(queries, hidden);
  count += (a.bias ? projected : 0.0) + (a.output_bias ? hidden : 0.0);
  if (a.qk_norm) {
    count += a.qk_norm_width == NormWidth::kHead ? 2.0 * a.head_dim : queries + keys;
  }
  return count;
}

/// DeepSeek-V2 (arXiv 2405.04434), equations 37 to 47: down- and up-projections with a norm on each latent. The
/// rotary key is projected straight from the input, together with the key-value latent.
double parameters(const LatentAttention& a, double hidden) {
  const double query_width = static_cast<double>(a.heads) * (a.qk_nope_head_dim + a.qk_rope_head_dim);
  const double q_rank = a.q_lora_rank;
  const double queries =
      a.q_lora_rank > 0 ? matrix(hidden, q_rank) + q_rank + matrix(q_rank, query_width) : matrix(hidden, query_width);
  const double kv_rank = a.kv_lora_rank;
  const double expanded = static_cast<double>(a.heads) * (a.qk_nope_head_dim + a.v_head_dim);
  const double keys_values = matrix(hidden, kv_rank + a.qk_rope_head_dim) + kv_rank + matrix(kv_rank, expanded);
  const double indexer = a.indexer ? indexer_parameters(*a.indexer, q_rank, hidden) : 0.0;
  return queries + keys_values + matrix(static_cast<double>(a.heads) * a.v_head_dim, hidden) + indexer;
}

/// Q, K, V, gate and output projections; per value head a decay and a write strength (two columns of a projection, an
/// offset and a scale); a convolution over q, k and v; a norm on the output.
double parameters(const LinearAttention& a, double hidden) {
  const double keys = static_cast<double>(a.key_heads) * a.key_head_dim;
  const double values = static_cast<double>(a.value_heads) * a.value_head_dim;
  const double mixed = 2 * keys + values;
  double count = matrix(hidden, mixed) + matrix(values, hidden) + mixed * a.convolution;
  count += a.output_gate ? matrix(hidden, values) : 0.0;
  count += a.decay_gates ? matrix(hidden, 2.0 * a.value_heads) + 2.0 * a.value_heads : 0.0;
  return count + (a.norm_width == NormWidth::kHead ? a.value_head_dim : values);
}

/// Four gates over the input and the previous output, each with a bias; then the projection.
double parameters(const Lstm& lstm, double hidden) {
  const double units = lstm.units;
  const double output = lstm.projection > 0 ? lstm.projection : units;
  return 4 * (matrix(hidden + output, units) + units) + (lstm.projection > 0 ? matrix(units, output) : 0.0);
}

/// `gated`: gate and up [hidden, inner], down [inner, hidden]; else up and down.
double feed_forward(double hidden, double inner, double inward_matrices) {
  return (inward_matrices + 1) * hidden * inner;
}

double inward_matrices(const auto& block) { return block.gated ? 2.0 : 1.0; }

double norm_vectors(Norm norm) {
  switch (norm) {
    case Norm::kRms:
      return 1.0;
    case Norm::kLayer:
      return 2.0;
    case Norm::kNone:
      return 0.0;
  }
  return 0.0;
}

/// Norms in front of mixer, cross-attention and feed-forward.
double norms_of(const Block& block) {
  const auto* dense = std::get_if<DenseFeedForward>(&block.feed_forward);
  const bool has_feed_forward = dense == nullptr || dense->intermediate > 0;
  return 1.0 + (block.cross_attention ? 1.0 : 0.0) + (has_feed_forward ? 1.0 : 0.0);
}

enum class Experts { kAll, kActive };

ParameterCount count_layers(const Model& model, Experts which) {
  const Architecture& architecture = model.architecture();
  const int hidden = architecture.hidden;
  const double norm = norm_vectors(architecture.norm) * hidden;
  ParameterCount count;
  std::array<bool, 2> stacks{};
  for (const Layer& layer : model.layers()) {
    stacks[static_cast<std::size_t>(layer.stack)] = true;
    count.mixer += mixer_parameters(*layer.block, hidden);
    count.norms += norms_of(*layer.block) * norm;
    std::visit(
        Overloaded{[&](const DenseFeedForward& dense) { count.dense_feed_forward += dense_parameters(dense, hidden); },
                   [&](const MixtureOfExperts& moe) {
                     const int experts = which == Experts::kAll ? moe.experts : moe.experts_per_token;
                     count.router += router_parameters(moe, hidden);
                     count.experts += experts * expert_parameters(moe, hidden);
                     count.shared_experts += shared_expert_parameters(moe, hidden);
                   }},
        layer.block->feed_forward);
  }
  count.norms += static_cast<double>(stacks[0] + stacks[1]) * norm;  // behind the last layer of each stack
  count.extra = static_cast<double>(architecture.extra_parameters);
  return count;
}

}  // namespace

double mixer_parameters(const Block& block, int hidden) {
  const double cross = block.cross_attention ? parameters(*block.cross_attention, hidden) : 0.0;
  return cross + std::visit([&](const auto& mixer) { return parameters(mixer, hidden); }, block.mixer);
}

/// Queries of all heads from the query latent, one key with a LayerNorm, and a weight per head.
double indexer_parameters(const SparseIndexer& indexer, double q_rank, double hidden) {
  return matrix(q_rank, static_cast<double>(indexer.heads) * indexer.head_dim) + matrix(hidden, indexer.head_dim) +
         matrix(hidden, indexer.heads) + 2.0 * indexer.head_dim;
}

double dense_parameters(const DenseFeedForward& dense, int hidden) {
  if (dense.intermediate == 0) {
    return 0.0;
  }
  const double biases = dense.bias ? inward_matrices(dense) * dense.intermediate + hidden : 0.0;
  return feed_forward(hidden, dense.intermediate, inward_matrices(dense)) + biases;
}

double expert_parameters(const MixtureOfExperts& moe, int hidden) {
  const double biases = moe.bias ? inward_matrices(moe) * moe.intermediate + hidden : 0.0;
  return feed_forward(hidden, moe.intermediate, inward_matrices(moe)) + biases;
}

double shared_expert_parameters(const MixtureOfExperts& moe, int hidden) {
  return feed_forward(hidden, moe.shared_intermediate, inward_matrices(moe)) + (moe.shared_gate ? hidden : 0);
}

double router_parameters(const MixtureOfExperts& moe, int hidden) {
  return matrix(hidden, moe.experts) + (moe.router_bias ? moe.experts : 0);
}

double draft_input_parameters(const Model& model) {
  const double hidden = model.architecture().hidden;
  const double norms = 3.0 + norms_of(*model.layers().back().block);
  return matrix(2.0 * hidden, hidden) + norms * norm_vectors(model.architecture().norm) * hidden;
}

ParameterCount total_parameters(const Model& model) {
  const Architecture& architecture = model.architecture();
  ParameterCount count = count_layers(model, Experts::kAll);
  count.embedding = matrix(architecture.vocabulary, architecture.hidden) * (architecture.tied_embeddings ? 1 : 2);
  return count;
}

ParameterCount active_parameters(const Model& model) {
  ParameterCount count = count_layers(model, Experts::kActive);
  count.embedding = matrix(model.architecture().vocabulary, model.architecture().hidden);
  return count;
}

}  // namespace moesim
