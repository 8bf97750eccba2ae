#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "models/kernels/fitted.hpp"
#include "sim/core/error.hpp"
#include "sim/core/task_pool.hpp"
#include "sim/training/schedule.hpp"
#include "sim/training/training.hpp"
#include "topologies/cluster.hpp"
#include "workloads/routing/source.hpp"

namespace moesim {

/// A run of the model's layers, first_layer … last_layer − 1.
struct Stage {
  std::size_t first_layer = 0;
  std::size_t last_layer = 0;
  ChunkEnds ends = ChunkEnds::kInner;
  [[nodiscard]] std::size_t layers() const { return last_layer - first_layer; }
};

/// `layers` over `stages`: as many each, but those that are left over, of which the first and the last stage get one
/// only when all others have. Beside a layer they have the embedding and the head, which Megatron-Core counts as one
/// layer each (account_for_embedding_in_pipeline_split, account_for_loss_in_pipeline_split).
std::vector<std::size_t> even_stages(std::size_t layers, std::size_t stages);

/// How a training's parts lie.
struct TrainingLayout {
  const PipelineSchedule* schedule = nullptr;
  PipelineShape shape;
  std::vector<Stage> stages;
  std::size_t stage_ranks = 1;    ///< GPUs of a pipeline rank
  std::size_t group_ranks = 1;    ///< of them, those of an expert-parallel group
  std::size_t data_parallel = 1;  ///< of one pipeline rank
  /// Ranks that have the same parameters, those of the mirrored pipeline rank included where weights are there twice.
  [[nodiscard]] std::size_t dense_copies() const { return data_parallel * schedule->copies; }
  [[nodiscard]] std::size_t expert_copies() const { return stage_ranks / group_ranks * schedule->copies; }
};

/// A training with everything it names looked up, and found to go together and to fit in memory.
struct PreparedTraining {
  Training training;
  Model model;
  Cluster cluster;
  KernelProfile profile;
  TrainingLayout layout;
  std::unique_ptr<RoutingSource> routing;  ///< absent in a model without experts
  Placement placement;
};

/// The tokens of a micro-batch of an expert-parallel group, rank by rank; different ones for each sample.
TokenBatch micro_batch_tokens(const PreparedTraining& prepared, std::size_t sample);

/// Throws ConfigError or ModelError. `place` is the training's file.
TrainingLayout lay_out(const Training& training, const Model& model, const Cluster& cluster, const Place& place);
PreparedTraining prepare_training(const Training& training, const Place& place, const TaskPool& pool);

}  // namespace moesim
