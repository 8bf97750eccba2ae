#include "sim/program/step_builder.hpp"

#include <variant>

#include "sim/core/error.hpp"
#include "sim/placement/replica_choice.hpp"

namespace moesim {

StepBuilder::StepBuilder(const StepPlan& plan, const TaskPool& pool)
    : ProgramWriter(*plan.cluster, plan.ranks, plan.tensor_parallel),
      plan_(plan),
      pool_(pool),
      context_{plan.model->architecture().hidden,
               plan.tensor_parallel,
               plan.precision,
               plan.precision.matrix_weights(plan.model->architecture().released()),
               plan.precision.expert_weights(plan.model->architecture().released()),
               plan.cluster->accelerator().compute_capability.value_or(0)},
      mixer_context_(context_),
      whole_(share_of({plan.batch, 0})) {
  mixer_context_.weights = plan.precision.attention_weights(plan.model->architecture().released());
  if (splits()) {
    for (const MicroBatch& part : split_batch(plan.batch, plan.micro_batches)) {
      parts_.push_back(share_of(part));
      parts_.back().micro_batch = static_cast<std::uint8_t>(parts_.size());
    }
  }
  work_on(whole_);
}

void StepBuilder::work_on(Share& share) {
  share_ = &share;
  aim({&share.first_token, share.micro_batch > 0 ? &share.turns : nullptr, share.micro_batch});
}

StepBuilder::Share StepBuilder::share_of(const MicroBatch& part) const {
  Share share;
  share.part = part;
  share.first_token = token_offsets(
      expert_groups(), in_place() ? static_cast<int>(expert_groups()) : plan_.tensor_parallel, part.batch.tokens());
  return share;
}

void StepBuilder::count_all_traffic() {
  if (plan_.routing == nullptr) {
    return;
  }
  for (const Layer& layer : plan_.model->layers()) {
    if (layer.moe_index && runs(layer)) {
      moe_layers_.push_back(*layer.moe_index);
    }
  }
  if (!splits()) {
    count_traffic_of(whole_, 0);
  }
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    count_traffic_of(parts_[i], i);
  }
}

RowPadding StepBuilder::padding() const {
  RowPadding padding{.tile = plan_.expert_row_tile};
  if (plan_.routing->router && plan_.routing->router->buffers) {
    ensure(!splits() && plan_.draft_tokens == 0, "buffers of fixed size are those of a whole batch");
    padding.buffers = &*plan_.routing->router->buffers;
  }
  return padding;
}

/// Of a MoE layer, by its choices for the share's tokens; `index` tells shares apart where copies are drawn.
LayerTraffic StepBuilder::traffic_of(const Share& share, std::size_t layer, std::span<const ExpertIndex> choices,
                                     std::size_t index) const {
  const LayerPlacement& placement = plan_.placement->layers[layer];
  const std::size_t k = plan_.routing->shape.k;
  std::vector<std::uint32_t> taken;
  if (plan_.replica_choice != ReplicaChoice::kInTurn) {
    taken = choose_replicas(placement, {choices, k, share.first_token, plan_.cluster->gpus_per_node()},
                            plan_.replica_choice, plan_.seed + layer + index * plan_.routing->shape.layers);
  }
  return count_traffic(placement, *plan_.cluster, choices, k, share.first_token, taken, padding());
}

void StepBuilder::count_traffic_of(Share& share, std::size_t index) {
  std::vector<std::optional<LayerTraffic>> counted(moe_layers_.size());
  pool_.for_each_index(moe_layers_.size(), [&](std::size_t i) {
    const std::size_t layer = moe_layers_[i];
    const std::vector<ExpertIndex> own = splits() ? choices_of(share, layer) : std::vector<ExpertIndex>();
    counted[i] =
        traffic_of(share, layer, splits() ? std::span<const ExpertIndex>(own) : plan_.routing->layer(layer), index);
  });
  for (auto& traffic : counted) {
    share.traffic.push_back(std::move(*traffic));
  }
}

/// [tokens of the share, k], group by group, from those of the whole batch.
std::vector<ExpertIndex> StepBuilder::choices_of(const Share& share, std::size_t layer) const {
  const auto all = plan_.routing->layer(layer);
  const std::size_t k = plan_.routing->shape.k;
  const auto per_group = static_cast<std::size_t>(plan_.batch.tokens()) * k;
  const auto first = static_cast<std::size_t>(share.part.first_token) * k;
  const auto count = static_cast<std::size_t>(share.part.batch.tokens()) * k;
  std::vector<ExpertIndex> choices;
  for (std::size_t group = 0; group * per_group < all.size(); ++group) {
    const auto own = all.subspan(group * per_group + first, count);
    choices.insert(choices.end(), own.begin(), own.end());
  }
  return choices;
}

double StepBuilder::group_bytes() const {
  return bytes_of(batch().tokens() * context_.hidden, plan_.precision.activations);
}

/// Hidden states [tokens, hidden], of which every rank of a group has a term of the sum, and then each an equal part
/// of the tokens (kReduceScatter), or the other way round (kAllGather).
void StepBuilder::reduce_scatter() {
  if (plan_.tensor_parallel > 1) {
    all_phases(in_groups(Collective::kReduceScatter, group_bytes()));
  }
}

void StepBuilder::all_gather() {
  if (plan_.tensor_parallel > 1) {
    all_phases(in_groups(Collective::kAllGather, group_bytes()));
  }
}

/// The sum at every rank of the group.
void StepBuilder::sum_over_group() {
  if (plan_.all_reduce == nullptr) {
    reduce_scatter();
    all_gather();
  } else if (plan_.tensor_parallel > 1) {
    all_phases(plan_.all_reduce->build(groups(), group_bytes()));
  }
}

/// A norm over the queries or keys of all heads wants the sums of squares of all of the group's ranks, [tokens, 2] in
/// fp32 (vLLM, MiniMaxText01RMSNormTP). When within a layer makes no difference.
void StepBuilder::sum_squares(const Mixer& mixer) {
  const auto* attention = std::get_if<GroupedQueryAttention>(&mixer);
  if (plan_.tensor_parallel == 1 || attention == nullptr || !attention->qk_norm ||
      attention->qk_norm_width != NormWidth::kAllHeads) {
    return;
  }
  const double size = bytes_of(2 * batch().tokens(), DataType::kFp32);
  all_phases(plan_.all_reduce == nullptr ? in_groups(Collective::kAllReduce, size)
                                         : plan_.all_reduce->build(groups(), size));
}

}  // namespace moesim
