#include <algorithm>

#include "sim/core/error.hpp"
#include "sim/program/step_builder.hpp"

/// How the modules of multi-token prediction draft the tokens that the next step verifies, as EAGLE does with one
/// module, which is run d times (TensorRT-LLM, _torch/speculative/mtp.py, MTPEagleWorker.forward; SGLang,
/// speculative/eagle_worker.py, forward_draft_extend_after_decode and draft_forward; vLLM, v1/spec_decode/eagle.py). Of
/// m modules pass i runs module i mod m (vLLM, models/deepseek_mtp.py).
///
/// - The first pass takes the hidden states of all 1 + d tokens that were verified, those rejected too: shapes are
///   fixed, so that a CUDA graph holds them (accepted_tokens of all columns in TensorRT-LLM; num_tokens_per_req =
///   speculative_num_steps + 1 in SGLang; vLLM unless disable_padded_drafter_batch). It fills the module's cache.
/// - Each pass after it takes one token of each sequence, the one drafted last.
/// - Every pass ends with the head, over one token of each sequence.
///
/// Keys are counted as if all drafts were accepted: at most d too many. The batch is not split in micro-batches, and
/// the groups' sums run the algorithm that the step's do.
namespace moesim {

void StepBuilder::add_drafts() {
  if (plan_.draft_tokens == 0) {
    return;
  }
  const Layer* layer = draft_layer(*plan_.model);
  ensure(layer != nullptr && plan_.batch.query == 1 + std::int64_t{plan_.draft_tokens},
         "tokens are drafted by a model without modules, or others verified");
  all_run({verification_kernel(plan_.batch.tokens(), plan_.batch.sequences)});
  for (std::int64_t pass = 0; pass < plan_.draft_tokens; ++pass) {
    add_draft(*layer, pass);
  }
}

void StepBuilder::add_draft(const Layer& layer, std::int64_t pass) {
  set_stage(stage() + 1);
  BatchShape batch = plan_.batch;
  if (pass > 0) {
    batch.query = 1;
    batch.keys += pass;
  }
  Share share = share_of({batch, 0});
  if (layer.moe_index) {
    ensure(plan_.routing != nullptr, "a MoE layer runs without routing");
    const std::vector<ExpertIndex> choices = choices_of_draft(*layer.moe_index, pass);
    share.traffic.push_back(
        traffic_of(share, *layer.moe_index, choices, parts_.size() + static_cast<std::size_t>(pass)));
  }
  work_on(share);
  all_run({embedding_kernel(context_, batch.tokens())});
  sum_over_group();
  all_run(draft_input_kernels(context_, batch.tokens()));
  add_layer(layer);
  add_head(batch.sequences);
  work_on(whole_);
}

/// [tokens of the pass, k]: as in the model's layer of that kind, since nobody recorded the module's own. Each pass
/// after the first takes another of a sequence's tokens.
std::vector<ExpertIndex> StepBuilder::choices_of_draft(std::size_t layer, std::int64_t pass) const {
  const auto all = plan_.routing->layer(layer);
  if (pass == 0) {
    return {all.begin(), all.end()};
  }
  const std::size_t k = plan_.routing->shape.k;
  const auto of_sequence = static_cast<std::size_t>(plan_.batch.query) * k;
  std::vector<ExpertIndex> choices;
  choices.reserve(all.size() / of_sequence * k);
  for (std::size_t at = static_cast<std::size_t>(pass) * k; at < all.size(); at += of_sequence) {
    const auto one = all.subspan(at, k);
    choices.insert(choices.end(), one.begin(), one.end());
  }
  return choices;
}

}  // namespace moesim
