#include "sim/program/step.hpp"

#include <algorithm>
#include <utility>

#include "sim/program/step_builder.hpp"

namespace moesim {

StepProgram StepBuilder::build() {
  count_all_traffic();
  all_run({embedding_kernel(context_, plan_.batch.tokens())});
  sum_over_group();  // each rank of a group has a part of the vocabulary
  const auto& layers = plan_.model->layers();
  if (splits()) {
    const auto moe_that_runs = [&](const Layer& layer) { return layer.moe_index && runs(layer); };
    const auto first = std::find_if(layers.begin(), layers.end(), moe_that_runs);
    const auto last = std::find_if(layers.rbegin(), layers.rend(), moe_that_runs);
    const auto from = static_cast<std::size_t>(first - layers.begin());
    const auto to = static_cast<std::size_t>(last.base() - layers.begin());
    add_layers(0, from);
    add_in_micro_batches(from, to);
    add_layers(to, layers.size());
  } else {
    add_layers(0, layers.size());
  }
  set_stage(static_cast<std::uint32_t>(layers.size()) + 1);
  const bool generates = std::any_of(layers.begin(), layers.end(),
                                     [&](const Layer& layer) { return runs(layer) && layer.stack == Stack::kDecoder; });
  if (generates) {
    // A prompt's last token alone leads to a new one; of those generated each may.
    const BatchShape& whole = plan_.batch;
    add_head(whole.phase == StepPhase::kDecode ? whole.tokens() : whole.sequences);
  }
  add_drafts();
  StepProgram built{take(stage() + 1), {}, std::move(moe_layers_)};
  if (splits()) {
    for (Share& part : parts_) {
      built.traffic.push_back(std::move(part.traffic));
    }
  } else {
    built.traffic.push_back(std::move(whole_.traffic));
  }
  return built;
}

/// From `first` to the one before `last`, those that run.
void StepBuilder::add_layers(std::size_t first, std::size_t last) {
  for (std::size_t l = first; l < last; ++l) {
    const Layer& layer = plan_.model->layers()[l];
    set_stage(static_cast<std::uint32_t>(l) + 1);
    if (runs(layer)) {
      add_layer(layer);
    } else if (layer.block->cross_attention && plan_.batch.phase == StepPhase::kPrefill) {
      all_run(cross_cache_kernels(mixer_context_, *layer.block->cross_attention, batch().tokens()));
    }
  }
}

/// The same by turns. Before the first MoE layer and after the last nothing is sent that could be hidden, and a whole
/// batch takes less time than two halves (SGLang, model_forward_maybe_tbo: its MoE layers only).
void StepBuilder::add_in_micro_batches(std::size_t first, std::size_t last) {
  std::vector<std::vector<Turn>> turns;
  for (Share& part : parts_) {
    work_on(part);
    yield();
    add_layers(first, last);
    turns.push_back(std::move(part.turns));
  }
  work_on(whole_);
  interleave(turns, turns_ahead(plan_.batch.phase), streams());
}

void StepBuilder::add_head(std::int64_t tokens) {
  const int vocabulary = plan_.model->architecture().vocabulary;
  KernelList head = head_kernels(context_, vocabulary, tokens);
  if (head.empty()) {
    return;
  }
  OperatorKernel sampling = std::move(head.back());
  head.pop_back();
  all_run(std::move(head));
  if (plan_.tensor_parallel > 1) {
    all_phases(in_groups(Collective::kAllGather, bytes_of(tokens * vocabulary, plan_.precision.activations)));
  }
  all_run({std::move(sampling)});
}

bool layer_runs(const Model& model, const Layer& layer, StepPhase phase) {
  if (layer.stack == Stack::kEncoder) {
    return phase == StepPhase::kPrefill;
  }
  const auto& layers = model.layers();
  const bool has_encoder =
      std::any_of(layers.begin(), layers.end(), [](const Layer& other) { return other.stack == Stack::kEncoder; });
  return phase == StepPhase::kDecode || !has_encoder;
}

std::vector<std::size_t> token_offsets(std::size_t ranks, int tensor_parallel, std::int64_t tokens_per_group) {
  const auto group = static_cast<std::size_t>(tensor_parallel);
  const auto tokens = static_cast<std::size_t>(tokens_per_group);
  std::vector<std::size_t> offsets{0};
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    const std::size_t in_group = rank % group;
    offsets.push_back(offsets.back() + tokens / group + (in_group < tokens % group ? 1 : 0));
  }
  return offsets;
}

StepProgram build_step(const StepPlan& plan, const TaskPool& pool) { return StepBuilder(plan, pool).build(); }

}  // namespace moesim
