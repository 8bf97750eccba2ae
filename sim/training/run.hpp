#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/scenario/run.hpp"
#include "sim/training/chunk_costs.hpp"
#include "sim/training/memory.hpp"
#include "sim/training/pipeline.hpp"

namespace moesim {

/// What a stretch of a rank's time went to: first as TimeCategory, then what only training has.
enum class TrainingTime {
  kCompute,
  kMemory,
  kOverhead,
  kExposedDispatch,
  kExposedCombine,
  kExposedCollective,
  kImbalanceWait,
  kBubble,           ///< no pass to run: waiting for another pipeline rank
  kGradientReduce,   ///< reducing gradients beside no pass, and their norm
  kOptimizer,        ///< updating parameters, casting them
  kParameterGather,  ///< gathering parameters beside no pass
};
template <>
struct EnumNames<TrainingTime> {
  static constexpr auto names = std::to_array<std::pair<TrainingTime, std::string_view>>(
      {{TrainingTime::kCompute, "compute"},
       {TrainingTime::kMemory, "HBM-bound"},
       {TrainingTime::kOverhead, "overhead"},
       {TrainingTime::kExposedDispatch, "exposed dispatch"},
       {TrainingTime::kExposedCombine, "exposed combine"},
       {TrainingTime::kExposedCollective, "exposed collective"},
       {TrainingTime::kImbalanceWait, "imbalance wait"},
       {TrainingTime::kBubble, "bubble"},
       {TrainingTime::kGradientReduce, "exposed gradient reduction"},
       {TrainingTime::kOptimizer, "optimizer"},
       {TrainingTime::kParameterGather, "exposed parameter gathering"}});
};
inline constexpr std::size_t kTrainingTimes = EnumNames<TrainingTime>::names.size();
inline constexpr std::size_t kPasses = EnumNames<Pass>::names.size();

/// One pipeline rank in a step. `parts` add up to the step.
struct PipelineRankTime {
  std::array<SimTime, kTrainingTimes> parts{};
  std::array<SimTime, kPasses> passes{};  ///< by pass
  SimTime gradients_ready;                ///< reduced, since the pipeline began
};

/// How a step ends and the next begins.
struct StepEnds {
  SimTime gather_before;  ///< parameters gathered that the first passes wait for
  SimTime reduce_after;   ///< after the last pass of all, until the last gradients are reduced
  SimTime norm;
  SimTime optimizer;     ///< of the rank that takes longest
  SimTime gather_after;  ///< of parameters, where nothing runs beside it
};

/// Everything that one training step's simulation found out.
struct TrainingResult {
  Training training;
  ClusterConfig cluster;
  Accelerator accelerator;
  std::string model_name;
  ParameterCount parameters_total;
  ParameterCount parameters_active;
  TrainingLayout layout;
  PipelineRun pipeline;  ///< begins at 0; in the step after ends.gather_before
  std::vector<std::size_t> kind_of_stage;
  PassCosts costs;
  SimTime longest_send;
  StepEnds ends;
  SimTime step;
  std::vector<PipelineRankTime> ranks;                ///< [pipeline ranks]
  std::vector<TrainingFootprint> memory;              ///< [pipeline ranks]
  std::vector<std::vector<ChunkInFlight>> in_flight;  ///< [pipeline ranks]
  Flops model_work;                                   ///< of the step; attention causal
  Flops masked_work;                                  ///< what a causal mask spares, of that not counted
  Flops work;                                         ///< as executed
  Duration peak_time;
  double bytes_intra_node = 0.0;  ///< of dispatches and collectives inside passes
  double bytes_inter_node = 0.0;
  std::int64_t tokens = 0;
  double imbalance_mean = 1.0;
  double imbalance_worst = 1.0;
  std::string routing_provenance;
  std::vector<std::string> warnings;
  std::vector<InputFile> inputs;
};

/// Prepares a training and runs one step of it. Throws ConfigError or ModelError.
///
/// A step: parameters that the first passes wait for are gathered; the pipeline runs; gradients are reduced, those of a
/// layer as soon as the last micro-batch's are there, one after the other on each rank; when all ranks have theirs, the
/// norm over all; the optimizer; and where nothing runs beside it, parameters are gathered. Passes are not slowed by
/// what runs beside them.
TrainingResult run_training(const Training& training, const Place& place, const TaskPool& pool);

}  // namespace moesim
