#include "sim/program/training_pass.hpp"

#include <algorithm>
#include <numeric>
#include <utility>
#include <variant>

#include "sim/core/error.hpp"
#include "sim/program/chunk_writer.hpp"

namespace moesim {

namespace {

/// Work of a forward pass, by what a backward pass makes of it: a product has two gradients of as much work each, one
/// of them its weight's; attention has twice the work for its inputs' gradients.
struct ForwardWork {
  Flops products;
  Flops attention;

  void count(const KernelList& kernels, double times) {
    for (const OperatorKernel& kernel : kernels) {
      const bool product = std::holds_alternative<Gemm>(kernel.kernel);
      const bool mixes = std::holds_alternative<ContextAttention>(kernel.kernel);
      if (product || mixes) {
        (product ? products : attention) += demand_of(kernel.kernel).work * (times * kernel.repeat);
      }
    }
  }
};

/// Of the whole chunk, as one rank would compute a group's tokens.
ForwardWork forward_work(const ChunkPlan& plan, const std::vector<LayerTraffic>& traffic) {
  OperatorContext whole{.hidden = plan.model->architecture().hidden, .precision = plan.precision};
  const double groups = static_cast<double>(plan.ranks) / plan.tensor_parallel;
  const BatchShape batch{.sequences = plan.sequences,
                         .query = plan.sequence_length,
                         .keys = plan.sequence_length,
                         .phase = StepPhase::kPrefill};
  ForwardWork work;
  std::size_t moe_layers = 0;
  for (std::size_t l = plan.first_layer; l < plan.last_layer; ++l) {
    const Block& block = *plan.model->layers()[l].block;
    work.count(mixer_kernels(whole, block.mixer, batch), groups);
    if (const auto* dense = std::get_if<DenseFeedForward>(&block.feed_forward)) {
      work.count(dense_kernels(whole, *dense, plan.tokens()), groups);
      continue;
    }
    const auto& moe = std::get<MixtureOfExperts>(block.feed_forward);
    work.count(router_kernels(whole, moe, plan.tokens()), groups);
    work.count(shared_expert_kernels(whole, moe, plan.tokens()), groups);
    double rows = 0.0;
    for (const auto& own : traffic[moe_layers++].rows) {
      rows = std::accumulate(own.begin(), own.end(), rows);
    }
    work.products += flops(2.0 * rows * whole.hidden * moe.intermediate * (moe.gated ? 3.0 : 2.0));
  }
  if (plan.ends == ChunkEnds::kLast || plan.ends == ChunkEnds::kBoth) {
    work.count(loss_kernels(whole, plan.model->architecture().vocabulary, plan.tokens()), groups);
  }
  return work;
}

Flops work_of(const ForwardWork& forward, Pass pass) {
  switch (pass) {
    case Pass::kForward:
      return forward.products + forward.attention;
    case Pass::kBackward:
      return 2.0 * (forward.products + forward.attention);
    case Pass::kBackwardInput:
      return forward.products + 2.0 * forward.attention;
    case Pass::kBackwardWeight:
      return forward.products;
    case Pass::kForwardBackward:
      break;
  }
  return 3.0 * (forward.products + forward.attention);
}

}  // namespace

std::string_view chunk_obstacle(const ChunkPlan& plan) {
  if (stays_in_place(plan.dispatch)) {
    return "tokens that stay in place are not known in training";
  }
  for (std::size_t l = plan.first_layer; l < plan.last_layer; ++l) {
    const Layer& layer = plan.model->layers()[l];
    if (layer.stack == Stack::kEncoder || layer.block->cross_attention) {
      return "training of encoders and of attention to them is not known";
    }
    const auto* latent = std::get_if<LatentAttention>(&layer.block->mixer);
    if (latent != nullptr && latent->indexer && plan.sequence_length > latent->indexer->selected) {
      return "sequences are longer than what the indexer selects, and training through its choice is not known";
    }
  }
  return {};
}

ChunkProgram build_pass(const ChunkPlan& plan, Pass pass, const TaskPool& pool) {
  ensure(pass != Pass::kForwardBackward, "two passes are built by build_overlapped");
  ProgramWriter out(*plan.cluster, plan.ranks, plan.tensor_parallel);
  ChunkWriter chunk(plan, out, pool, ExchangeKernels::kBeside, 0);
  out.aim({.first_token = &chunk.first_token()});
  if (pass == Pass::kForward) {
    chunk.forward();
  } else {
    chunk.backward(pass);
  }
  return {out.take(chunk.stages()), chunk.traffic(), work_of(forward_work(plan, chunk.traffic()), pass)};
}

ChunkProgram build_overlapped(const ChunkPlan& forward, const ChunkPlan& backward, const TaskPool& pool) {
  ensure(forward.cluster == backward.cluster && forward.ranks == backward.ranks &&
             forward.tensor_parallel == backward.tensor_parallel,
         "passes beside each other run on the same ranks");
  ChunkPlan put_off = backward;
  put_off.weight_gradients = WeightGradients::kBesideExchange;
  ProgramWriter out(*forward.cluster, forward.ranks, forward.tensor_parallel);
  ChunkWriter ahead(forward, out, pool, ExchangeKernels::kBesideOther, 0);
  ChunkWriter back(put_off, out, pool, ExchangeKernels::kBesideOther, ahead.stages());
  // The backward pass has the first turn: its output gradients are on their way during the first attention.
  std::vector<std::vector<Turn>> turns(2);
  out.aim({&back.first_token(), turns.data(), 2});
  out.yield();
  back.backward(Pass::kBackward);
  out.aim({&ahead.first_token(), &turns[1], 1});
  out.yield();
  ahead.forward();
  interleave(turns, 0, out.streams());
  std::vector<LayerTraffic> traffic = ahead.traffic();
  traffic.insert(traffic.end(), back.traffic().begin(), back.traffic().end());
  return {out.take(ahead.stages() + back.stages()), std::move(traffic),
          work_of(forward_work(forward, ahead.traffic()), Pass::kForward) +
              work_of(forward_work(backward, back.traffic()), Pass::kBackward)};
}

}  // namespace moesim
