#include <fmt/format.h>

#include "sim/scenario/run.hpp"
#include "sim/training/layout.hpp"
#include "sim/training/memory.hpp"
#include "sim/training/types.hpp"

namespace moesim {

namespace {

PlacementProblem expert_problem(const PreparedTraining& prepared) {
  const MixtureOfExperts& moe = *prepared.model.moe();
  PlacementProblem problem{.layers = prepared.model.moe_layers(),
                           .experts = static_cast<std::size_t>(moe.experts),
                           .ranks = prepared.layout.group_ranks,
                           .seed = prepared.training.seed,
                           .ranks_per_node = prepared.cluster.gpus_per_node(),
                           .groups = static_cast<std::size_t>(moe.groups)};
  problem.all_layers = prepared.model.layers().size();
  for (const Layer& layer : prepared.model.layers()) {
    if (layer.moe_index) {
      problem.model_layers.push_back(layer.index);
    }
  }
  return problem;
}

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

/// Strategies that look at loads see those of the recording, or else of the first sample.
void place_training(PreparedTraining& prepared, const Place& place, const TaskPool& pool) {
  const PlacementConfig& config = prepared.training.placement;
  const Place where = below(place, "/placement");
  PlacementProblem problem = expert_problem(prepared);
  std::vector<double> loads;
  StepRouting sample;
  if (!config.file) {
    const StrategyEntry& entry = find_strategy(config.strategy, below(where, "/strategy"));
    check_slots(problem, entry.name, where);
    if (entry.needs != StrategyEntry::Needs::kNothing) {
      sample = prepared.routing->draw(micro_batch_tokens(prepared, 0), prepared.training.seed, pool);
      const auto recorded = prepared.routing->recorded_counts();
      loads = recorded ? recorded->counts : loads_of(sample);
      problem.loads = loads;
      problem.tokens = &sample;
    }
  }
  prepared.placement = place_experts(config, problem, where);
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
