#include <iterator>
#include <utility>

#include "sim/program/chunk_writer.hpp"

namespace moesim {

void ChunkWriter::forward() {
  enter(0);
  if (embeds()) {
    out_.all_run({embedding_kernel(context_, plan_.tokens())});
    out_.all_phases(scattered());  // each rank of a group has a part of the vocabulary
  }
  for (std::size_t i = 0; i < plan_.last_layer - plan_.first_layer; ++i) {
    enter(i + 1);
    forward_layer(i);
  }
  enter(stages() - 1);
  if (has_head()) {
    forward_head();
  }
}

void ChunkWriter::forward_layer(std::size_t index) {
  const Block& block = *layer(index).block;
  forward_mixer(layer(index));
  if (const auto* dense = std::get_if<DenseFeedForward>(&block.feed_forward)) {
    forward_dense(*dense);
  } else {
    forward_experts(std::get<MixtureOfExperts>(block.feed_forward), traffic_of(index));
  }
}

void ChunkWriter::forward_mixer(const Layer& layer) {
  out_.all_run_own_tokens([&](std::int64_t tokens) { return KernelList{norm_kernel(context_, tokens)}; });
  out_.all_phases(gathered());
  out_.all_run(mixer_of(layer));
  out_.all_phases(scattered());
}

/// Nothing is sent that the other micro-batch could hide, but it has its turns.
void ChunkWriter::forward_dense(const DenseFeedForward& dense) {
  if (dense.intermediate == 0) {
    return;
  }
  out_.yield();
  out_.all_run_own_tokens([&](std::int64_t tokens) { return KernelList{norm_kernel(context_, tokens)}; });
  out_.all_phases(gathered());
  out_.all_run(dense_kernels(context_, dense, plan_.tokens()));
  out_.all_phases(scattered());
  out_.yield();
}

void ChunkWriter::forward_experts(const MixtureOfExperts& moe, const LayerTraffic& traffic) {
  out_.all_run_own_tokens([&](std::int64_t tokens) {
    KernelList kernels{norm_kernel(context_, tokens)};
    KernelList router = router_kernels(context_, moe, tokens);
    std::move(router.begin(), router.end(), std::back_inserter(kernels));
    return kernels;
  });
  const auto run_shared_if = [&](SharedExpertSchedule now) {
    if (plan_.shared_experts == now) {
      out_.all_run_own_tokens([&](std::int64_t tokens) { return shared_expert_kernels(context_, moe, tokens); });
    }
  };
  run_shared_if(SharedExpertSchedule::kSerial);
  ProgramWriter::Begun tokens = sends() ? send_tokens(moe, traffic, plan_.precision.dispatch) : ProgramWriter::Begun{};
  run_shared_if(SharedExpertSchedule::kOverlapped);
  out_.yield();
  out_.finish(std::move(tokens));
  for (std::size_t rank = 0; rank < plan_.ranks; ++rank) {
    Permuted moved = permuted(traffic, rank, plan_.precision.dispatch, plan_.precision.combine);
    out_.run(rank, out_.store(std::move(moved.to_experts)));
    out_.run(rank, out_.store(expert_products(context_, moe, traffic.computed[rank])));
    out_.run(rank, out_.store(std::move(moved.to_tokens)));
  }
  ProgramWriter::Begun results = sends() ? send_results(traffic, plan_.precision.combine) : ProgramWriter::Begun{};
  out_.yield();
  if (sends()) {
    receive_results(moe, std::move(results));
  }
}

/// Maxima, then sums and the targets' logits, are found in each rank's part of the vocabulary and put together over the
/// group (Megatron-Core, tensor_parallel/cross_entropy.py): 4 and 8 bytes a token.
void ChunkWriter::forward_head() {
  out_.all_run_own_tokens([&](std::int64_t tokens) { return KernelList{norm_kernel(context_, tokens)}; });
  out_.all_phases(gathered());
  out_.all_run(loss_kernels(context_, plan_.model->architecture().vocabulary, plan_.tokens()));
  if (plan_.tensor_parallel > 1) {
    for (const double bytes : {4.0, 8.0}) {
      out_.all_phases(out_.in_groups(Collective::kAllReduce, bytes * static_cast<double>(plan_.tokens())));
    }
  }
}

}  // namespace moesim
