#include <algorithm>
#include <iterator>
#include <numeric>
#include <variant>

#include "sim/core/error.hpp"
#include "sim/program/step_builder.hpp"

namespace moesim {

/// What a layer is before its feed-forward block. In decode the other micro-batch has its turn between the projections
/// and the attention.
void StepBuilder::add_mixer(const Layer& layer) {
  all_run({norm_kernel(context_, batch().tokens())});
  BatchShape shape = batch();
  shape.mask = layer.stack == Stack::kEncoder ? Mask::kFull : Mask::kCausal;
  sum_squares(layer.block->mixer);
  KernelList kernels = mixer_kernels(mixer_context_, layer.block->mixer, shape);
  if (layer.moe() != nullptr && shape.phase == StepPhase::kDecode) {
    const auto core = std::find_if(kernels.begin(), kernels.end(), [](const OperatorKernel& kernel) {
      return kernel.op == StepOperator::kAttention || kernel.op == StepOperator::kRecurrence;
    });
    all_run({kernels.begin(), core});
    kernels.erase(kernels.begin(), core);
    yield();
  }
  all_run(std::move(kernels));
  if (layer.block->cross_attention) {
    sum_over_group();
    all_run({norm_kernel(context_, batch().tokens())});
    all_run(cross_attention_kernels(mixer_context_, *layer.block->cross_attention, batch()));
  }
}

void StepBuilder::add_layer(const Layer& layer) {
  const std::int64_t tokens = batch().tokens();
  add_mixer(layer);
  const auto* dense = std::get_if<DenseFeedForward>(&layer.block->feed_forward);
  if (dense != nullptr) {
    sum_over_group();
    if (dense->intermediate > 0) {  // else a layer that only mixes, as the second LSTM of Shazeer et al. 2017
      all_run({norm_kernel(context_, tokens)});
      all_run(dense_kernels(context_, *dense, tokens));
      sum_over_group();
    }
    return;
  }
  if (in_place()) {
    sum_over_group();
    add_experts_in_place(layer);
    sum_over_group();
    return;
  }
  reduce_scatter();
  add_experts(layer);
  all_gather();
}

/// Every rank has all tokens, and its experts take their own.
void StepBuilder::add_experts_in_place(const Layer& layer) {
  const MixtureOfExperts& moe = *layer.moe();
  const std::int64_t tokens = batch().tokens();
  KernelList common{norm_kernel(context_, tokens)};
  for (KernelList part :
       {router_kernels(context_, moe, tokens), shared_expert_kernels(context_, moe, tokens, plan_.tensor_parallel)}) {
    std::move(part.begin(), part.end(), std::back_inserter(common));
  }
  all_run(std::move(common));
  const LayerTraffic& traffic = next_traffic();
  const auto group = static_cast<std::size_t>(plan_.expert_tensor_parallel);
  for (std::size_t first = 0; first < plan_.ranks; first += group) {
    const DataType type = plan_.precision.activations;
    const std::size_t at = first / group;
    const ExpertArrival arrival{ExpertLayout::kSorted, traffic.tokens_at(at)};
    const auto stored = store(permuted_experts(moe, traffic.computed[at], arrival, type, type));
    for (std::size_t rank = first; rank < first + group; ++rank) {
      run(rank, stored);
    }
  }
}

/// Tokens that a rank's experts' results are summed for: where all tokens were gathered, all of them, since the sum
/// over ranks wants the same ones of each.
std::int64_t StepBuilder::summed_tokens(std::int64_t arrived) const {
  const bool gathered = plan_.ranks > 1 && plan_.dispatch == DispatchProtocol::kAllGather;
  return gathered ? static_cast<std::int64_t>(share_->first_token.back()) : arrived;
}

/// The experts' kernels over `rows`, between those that bring the tokens into their order and back, where there are
/// such.
KernelList StepBuilder::permuted_experts(const MixtureOfExperts& moe, const std::vector<std::int64_t>& rows,
                                         const ExpertArrival& arrival, DataType arrived, DataType sent) {
  const std::int64_t copies = std::accumulate(rows.begin(), rows.end(), std::int64_t{0});
  const std::int64_t tokens = arrival.tokens;
  const bool permutes =
      tokens > 0 && arrival.layout != ExpertLayout::kMasked && plan_.permutation == Permutation::kApart;
  KernelList kernels;
  if (permutes) {
    kernels.push_back(permute_kernel(context_, tokens, copies, arrived));
  }
  for (OperatorKernel& kernel : expert_kernels(context_, moe, rows, arrival, plan_.expert_tensor_parallel)) {
    kernels.push_back(std::move(kernel));
  }
  if (permutes) {
    kernels.push_back(unpermute_kernel(context_, summed_tokens(tokens), copies, sent));
  }
  return kernels;
}

const LayerTraffic& StepBuilder::next_traffic() {
  ensure(plan_.routing != nullptr, "a MoE layer runs without routing");
  return share_->traffic.at(share_->next_moe++);
}

/// Router, dispatch, experts, combine. The shared experts run beside the dispatch, or, in micro-batches of prompts,
/// beside the combine (micro_batch.hpp), unless they are to run by themselves.
void StepBuilder::add_experts(const Layer& layer) {
  const MixtureOfExperts& moe = *layer.moe();
  const LayerTraffic& traffic = next_traffic();
  const bool decodes = batch().phase == StepPhase::kDecode;
  const bool sends = plan_.ranks > 1;
  all_run_own_tokens([&](std::int64_t tokens) {
    KernelList kernels{norm_kernel(context_, tokens)};
    for (auto& kernel : router_kernels(context_, moe, tokens)) {
      kernels.push_back(std::move(kernel));
    }
    return kernels;
  });
  enum class Beside { kNothing, kDispatch, kCombine };
  const Beside beside = plan_.shared_experts == SharedExpertSchedule::kSerial ? Beside::kNothing
                        : takes_turns() && !decodes                           ? Beside::kCombine
                                                                              : Beside::kDispatch;
  const auto run_shared_if = [&](Beside now) {
    if (beside == now) {
      all_run_own_tokens([&](std::int64_t tokens) { return shared_expert_kernels(context_, moe, tokens); });
    }
  };
  run_shared_if(Beside::kNothing);
  if (decodes) {
    yield();
  }
  const Precision& precision = plan_.precision;
  const bool copies_sent = sends && sends_copies(plan_.dispatch);
  const std::int64_t k = moe.experts_per_token;
  DispatchPlan dispatch{plan_.cluster, plan_.dispatch, plan_.communication_units,
                        bytes_of(context_.hidden, precision.dispatch)};
  if (takes_turns()) {
    dispatch.kernels = plan_.dispatch == DispatchProtocol::kDeepEpLowLatency ? ExchangeKernels::kSendAndReceive
                                                                             : ExchangeKernels::kBesideOther;
  }
  Begun dispatched;
  if (sends) {
    if (!delivers_rows(plan_.dispatch)) {  // low-latency kernels quantise as they send
      all_run_own_tokens([&](std::int64_t tokens) { return quantise_kernels(context_, tokens, precision.dispatch); });
    }
    if (copies_sent) {
      all_run_own_tokens([&](std::int64_t tokens) {
        return tokens == 0 ? KernelList{}
                           : KernelList{permute_kernel(context_, tokens, tokens * k, precision.activations)};
      });
    }
    dispatched = begin(dispatch_phases(traffic, dispatch));
  }
  run_shared_if(Beside::kDispatch);
  yield();
  finish(std::move(dispatched));
  run_experts(moe, traffic);
  if (!sends) {
    return;
  }
  dispatch.token_bytes = bytes_of(context_.hidden, precision.combine);
  Begun combined = begin(combine_phases(traffic, dispatch));
  yield();
  run_shared_if(Beside::kCombine);
  finish(std::move(combined));
  if (copies_sent) {
    all_run_own_tokens([&](std::int64_t tokens) {
      return tokens == 0 ? KernelList{}
                         : KernelList{unpermute_kernel(context_, tokens, tokens * k, precision.activations)};
    });
  }
  if (decodes) {
    yield();
  }
}

/// Each rank's routed experts over what arrived.
void StepBuilder::run_experts(const MixtureOfExperts& moe, const LayerTraffic& traffic) {
  const bool sends = plan_.ranks > 1;
  const Precision& precision = plan_.precision;
  const DataType arrived = sends ? precision.dispatch : precision.activations;
  const DataType sent = sends ? precision.combine : precision.activations;
  const ExpertLayout layout = sends ? layout_of(plan_.dispatch) : ExpertLayout::kSorted;
  for (std::size_t rank = 0; rank < plan_.ranks; ++rank) {
    const auto& rows = traffic.rows[rank];
    const std::int64_t copies = std::accumulate(rows.begin(), rows.end(), std::int64_t{0});
    const ExpertArrival arrival{layout, sends && sends_copies(plan_.dispatch) ? copies : traffic.tokens_at(rank)};
    run(rank, store(permuted_experts(moe, traffic.computed[rank], arrival, arrived, sent)));
  }
}

}  // namespace moesim
