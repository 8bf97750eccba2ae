#include <fmt/format.h>

#include "sim/scenario/placing.hpp"
#include "sim/scenario/run.hpp"
#include "sim/training/layout.hpp"
#include "sim/training/memory.hpp"
#include "sim/training/types.hpp"

namespace moesim {

namespace {

/// Parts of models whose backward passes are not known.
void check_known(const PreparedTraining& prepared, const Place& place) {
  ChunkPlan whole;
  whole.model = &prepared.model;
  whole.last_layer = prepared.model.layers().size();
  whole.sequence_length = prepared.training.batch.sequence_length;
  whole.dispatch = prepared.training.dispatch.protocol;
  if (const auto obstacle = chunk_obstacle(whole); !obstacle.empty()) {
    throw ModelError(
        fmt::format("{}: {} cannot be trained here: {}", place.text(), prepared.model.architecture().name, obstacle));
  }
}

void place_training(PreparedTraining& prepared, const Place& place, const TaskPool& pool) {
  const Training& training = prepared.training;
  const auto look = [&] { return look_at(*prepared.routing, micro_batch_tokens(prepared, 0), training.seed, pool); };
  prepared.placement = place_as(
      training.placement,
      placement_problem(prepared.model, prepared.layout.group_ranks, prepared.cluster.gpus_per_node(), training.seed),
      look, below(place, "/placement"));
}

}  // namespace

TokenBatch micro_batch_tokens(const PreparedTraining& prepared, std::size_t sample) {
  const Training& training = prepared.training;
  const std::size_t groups =
      prepared.layout.group_ranks / static_cast<std::size_t>(training.parallelism.tensor_parallel);
  const std::size_t sequences = groups * static_cast<std::size_t>(training.batch.micro_batch);
  TokenBatch batch;
  batch.tokens.reserve(sequences * static_cast<std::size_t>(training.batch.sequence_length));
  for (std::size_t sequence = 0; sequence < sequences; ++sequence) {
    for (std::int64_t position = 0; position < training.batch.sequence_length; ++position) {
      batch.tokens.push_back(
          {static_cast<std::uint32_t>(sample * sequences + sequence), static_cast<std::uint32_t>(position)});
    }
  }
  return batch;
}

PreparedTraining prepare_training(const Training& training, const Place& place, const TaskPool& pool) {
  const auto ranks = static_cast<std::size_t>(training.parallelism.ranks);
  PreparedTraining prepared{.training = training,
                            .model = load_model(training.model, below(place, "/model")),
                            .cluster = load_cluster(training.cluster, ranks, below(place, "/cluster")),
                            .profile = load_kernel_profile(training.kernels, below(place, "/kernels")),
                            .layout = {},
                            .routing = nullptr,
                            .placement = {}};
  check_types(training, prepared.model.architecture().released(), place);
  prepared.layout = lay_out(training, prepared.model, prepared.cluster, place);
  check_known(prepared, below(place, "/model"));
  check_training_fits(prepared, 1.0, place);
  if (prepared.model.moe() != nullptr) {
    prepared.routing = make_routing_source(training.routing, routing_needs(prepared.model), below(place, "/routing"));
    place_training(prepared, place, pool);
  }
  return prepared;
}

}  // namespace moesim
