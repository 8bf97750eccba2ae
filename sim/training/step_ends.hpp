#pragma once

#include <cstddef>
#include <vector>

#include "models/memory/training.hpp"
#include "sim/training/run.hpp"
#include "sim/training/stage_network.hpp"

/// What happens to gradients and parameters around a pipeline.
namespace moesim {

/// Gradients and parameters of one stage travel layer by layer; each bucket takes as long.
struct StageBuckets {
  std::size_t count = 1;
  SimTime reduce;  ///< of one bucket
  SimTime gather;
  [[nodiscard]] SimTime all_gathers() const {
    return SimTime::from_ticks(gather.ticks() * static_cast<std::int64_t>(count));
  }
};

/// [stages]; the same on all ranks that hold a stage.
std::vector<StageBuckets> stage_buckets(const PreparedTraining& prepared, ParameterSync& sync,
                                        const std::vector<TrainingMemoryRequest>& requests);

/// When a rank's stages' gradients are reduced, [pipeline ranks], since the pipeline began.
std::vector<SimTime> gradients_ready(const PreparedTraining& prepared, const PipelineRun& run,
                                     const std::vector<StageBuckets>& buckets);

/// By how much the first forward passes have to start later than they could, so that every layer's parameters have been
/// gathered when it begins: the most over all ranks.
SimTime gather_delay(const PreparedTraining& prepared, const PipelineRun& run,
                     const std::vector<StageBuckets>& buckets);

/// Time of one rank's optimizer.
SimTime optimizer_time(const PreparedTraining& prepared, const TrainingMemoryRequest& request, const CostModel& costs);

}  // namespace moesim
