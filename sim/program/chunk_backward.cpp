#include <iterator>
#include <utility>

#include "sim/program/chunk_writer.hpp"

namespace moesim {

namespace {

void append(KernelList& all, KernelList more) { std::move(more.begin(), more.end(), std::back_inserter(all)); }

}  // namespace

void ChunkWriter::backward(Pass pass) {
  pass_ = pass;
  enter(stages() - 1);
  if (has_head()) {
    backward_head();
  }
  for (std::size_t i = plan_.last_layer - plan_.first_layer; i-- > 0;) {
    enter(i + 1);
    if (plan_.recompute == Recompute::kFull && inputs()) {
      forward_layer(i);
    }
    backward_layer(i);
  }
  enter(0);
  if (embeds()) {
    if (inputs()) {
      out_.all_phases(gathered());
    }
    add(embedding_gradients(context_, plan_.tokens(), plan_.gradients.weights));
  }
  run_put_off();
}

void ChunkWriter::backward_layer(std::size_t index) {
  const Block& block = *layer(index).block;
  if (const auto* dense = std::get_if<DenseFeedForward>(&block.feed_forward)) {
    backward_dense(*dense);
  } else {
    backward_experts(std::get<MixtureOfExperts>(block.feed_forward), traffic_of(index));
  }
  backward_mixer(layer(index));
}

void ChunkWriter::backward_mixer(const Layer& layer) {
  const KernelList forward = mixer_of(layer);
  backward_in_group(selective() ? recomputed_of_mixer(layer.block->mixer, forward) : KernelList{},
                    gradients_of(mixer_context_, forward, plan_.gradients.weights));
  backward_norm();
}

void ChunkWriter::backward_dense(const DenseFeedForward& dense) {
  if (dense.intermediate == 0) {
    return;
  }
  out_.yield();
  const KernelList forward = dense_kernels(context_, dense, plan_.tokens());
  backward_in_group(selective() ? recomputed_of_feed_forward(forward) : KernelList{},
                    gradients_of(context_, forward, plan_.gradients.weights));
  backward_norm();
  out_.yield();
}

/// The output's gradient is gathered, since the output was scattered.
void ChunkWriter::backward_in_group(const KernelList& again, const GradientList& gradients) {
  if (selective()) {
    out_.all_run_own_tokens([&](std::int64_t tokens) { return KernelList{norm_again_kernel(context_, tokens)}; });
  }
  if (inputs()) {
    out_.all_phases(gathered());
    out_.all_run(again);
  }
  backward_products(gradients);
}

/// The input is gathered again for the gradient of the first products' weights, since a rank has kept its own tokens'
/// only, and the input's gradient is scattered. Both run beside a product (Megatron-Core, tensor_parallel/layers.py,
/// LinearWithGradAccumulationAndAsyncCommunication).
void ChunkWriter::backward_products(const GradientList& gradients) {
  auto last = gradients.end();
  while (last != gradients.begin() && std::prev(last)->of == GradientOf::kWeight) {
    --last;
  }
  const auto before = last == gradients.begin() ? last : std::prev(last);
  add({gradients.begin(), before});
  ProgramWriter::Begun input = weights() ? out_.begin(gathered()) : ProgramWriter::Begun{};
  add({before, last});
  out_.finish(std::move(input));
  ProgramWriter::Begun gradient = inputs() ? out_.begin(scattered()) : ProgramWriter::Begun{};
  add({last, gradients.end()});
  out_.finish(std::move(gradient));
}

void ChunkWriter::backward_norm() {
  if (inputs()) {
    out_.all_run_own_tokens([&](std::int64_t tokens) { return KernelList{norm_gradient_kernel(context_, tokens)}; });
  }
}

void ChunkWriter::backward_shared(const MixtureOfExperts& moe) {
  for (std::size_t rank = 0; rank < plan_.ranks; ++rank) {
    const KernelList forward = shared_expert_kernels(context_, moe, tokens_of(rank));
    if (selective()) {
      add_inputs(rank, recomputed_of_feed_forward(forward));
    }
    add(rank, gradients_of(context_, forward, plan_.gradients.weights));
  }
}

/// The combine's gradient is a dispatch, the dispatch's a combine, along the same routes. Weights of the router's
/// choices are multiplied with what is between the two products (Megatron-Core, moe/experts.py), so that their
/// gradients take no exchange of their own.
void ChunkWriter::backward_experts(const MixtureOfExperts& moe, const LayerTraffic& traffic) {
  if (plan_.shared_experts == SharedExpertSchedule::kSerial) {
    backward_shared(moe);
  }
  const bool exchanges = sends() && inputs();
  ProgramWriter::Begun outputs =
      exchanges ? send_tokens(moe, traffic, plan_.gradients.dispatch) : ProgramWriter::Begun{};
  if (plan_.shared_experts == SharedExpertSchedule::kOverlapped) {
    backward_shared(moe);
  }
  run_put_off();
  out_.yield();
  out_.finish(std::move(outputs));
  for (std::size_t rank = 0; rank < plan_.ranks; ++rank) {
    backward_own(traffic, rank, moe);
  }
  ProgramWriter::Begun results = exchanges ? send_results(traffic, plan_.gradients.combine) : ProgramWriter::Begun{};
  run_put_off();
  out_.yield();
  if (exchanges) {
    receive_results(moe, std::move(results));
  }
  for (std::size_t rank = 0; rank < plan_.ranks; ++rank) {
    if (tokens_of(rank) == 0) {
      continue;
    }
    if (selective()) {
      add_inputs(rank, {norm_again_kernel(context_, tokens_of(rank))});
    }
    add(rank, gradients_of(context_, router_kernels(context_, moe, tokens_of(rank)), plan_.gradients.weights));
  }
  backward_norm();
}

/// A rank's routed experts.
void ChunkWriter::backward_own(const LayerTraffic& traffic, std::size_t rank, const MixtureOfExperts& moe) {
  const KernelList forward = expert_products(context_, moe, traffic.computed[rank]);
  Permuted moved = permuted(traffic, rank, plan_.gradients.dispatch, plan_.gradients.combine);
  KernelList first = std::move(moved.to_experts);
  if (selective()) {
    append(first, recomputed_of_feed_forward(forward));
  }
  add_inputs(rank, std::move(first));
  add(rank, gradients_of(context_, forward, plan_.gradients.weights));
  add_inputs(rank, std::move(moved.to_tokens));
}

void ChunkWriter::backward_head() {
  const KernelList forward = loss_kernels(context_, plan_.model->architecture().vocabulary, plan_.tokens());
  backward_products(loss_gradients(context_, forward, plan_.gradients.weights));
  backward_norm();
}

ChunkWriter::When ChunkWriter::when(GradientOf of) const {
  if (of == GradientOf::kInput) {
    return inputs() ? When::kNow : When::kNever;
  }
  if (!weights()) {
    return When::kNever;
  }
  const bool beside = pass_ == Pass::kBackward && plan_.weight_gradients == WeightGradients::kBesideExchange;
  return beside ? When::kPutOff : When::kNow;
}

void ChunkWriter::add(std::size_t rank, const GradientList& gradients) {
  for (const GradientKernel& gradient : gradients) {
    add(rank, gradient.of, out_.store({gradient.kernel}));
  }
}

void ChunkWriter::add(const GradientList& gradients) {
  for (const GradientKernel& gradient : gradients) {
    const std::vector<RunKernel> stored = out_.store({gradient.kernel});
    for (std::size_t rank = 0; rank < plan_.ranks; ++rank) {
      add(rank, gradient.of, stored);
    }
  }
}

void ChunkWriter::add(std::size_t rank, GradientOf of, const std::vector<RunKernel>& kernels) {
  switch (when(of)) {
    case When::kNow:
      out_.run(rank, kernels);
      break;
    case When::kPutOff:
      put_off_[rank].insert(put_off_[rank].end(), kernels.begin(), kernels.end());
      break;
    case When::kNever:
      break;
  }
}

void ChunkWriter::add_inputs(std::size_t rank, KernelList kernels) {
  if (inputs()) {
    out_.run(rank, out_.store(std::move(kernels)));
  }
}

void ChunkWriter::run_put_off() {
  for (std::size_t rank = 0; rank < plan_.ranks; ++rank) {
    out_.run(rank, put_off_[rank]);
    put_off_[rank].clear();
  }
}

}  // namespace moesim
