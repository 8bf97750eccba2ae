#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "models/kernels/fitted.hpp"
#include "models/memory/memory.hpp"
#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"
#include "sim/core/task_pool.hpp"
#include "sim/execute/execute.hpp"
#include "sim/scenario/scenario.hpp"
#include "topologies/cluster.hpp"
#include "workloads/routing/source.hpp"

namespace moesim {

/// A scenario with everything it names looked up, and found to go together and to fit in memory.
struct PreparedStep {
  Scenario scenario;
  Model model;
  Cluster cluster;
  KernelProfile profile;
  std::unique_ptr<RoutingSource> routing;  ///< absent in a model without experts
  Placement placement;
  BatchShape batch;  ///< per attention group
  int micro_batches = 1;
  /// [ranks]; expert rows are taken as balanced until the routing is drawn.
  [[nodiscard]] std::vector<MemoryRequest> memory_requests() const;
};

/// The step's tokens, rank by rank: every group has sequences of its own, each of which is a run of positions.
TokenBatch token_batch(const PreparedStep& step);
/// Tokens per expert, [layers, experts].
std::vector<double> loads_of(const StepRouting& routing);
/// How the step is laid out, but for its routing. Refers to `step`.
StepPlan step_plan(const PreparedStep& step, const CostModel& costs);
/// Where a file says in how many micro-batches a step is split; `place` is the file.
Place place_of_micro_batches(const StepChoice& step, const Place& place);
/// What a model asks of its routing.
RoutingNeeds routing_needs(const Model& model);
/// What strategies are asked: of the model, the ranks and the copies that the scenario allows; without loads.
PlacementProblem placement_problem(const PreparedStep& step);

/// Why groups of so many neighbours cannot share the model's attention; `where` is what says how many.
std::vector<Diagnostic> tensor_parallel_faults(const Model& model, const Cluster& cluster, std::int64_t ranks,
                                               int tensor_parallel, const Place& where);

/// Why so many SMs cannot be kept for a dispatch; `where` is what says how many.
std::vector<Diagnostic> communication_unit_faults(DispatchProtocol protocol, std::optional<int> units,
                                                  const Cluster& cluster, const Place& where);

/// Where exchanges of a protocol that runs collectives go on beside kernels; `what` hides them.
std::string beside_collectives_warning(DispatchProtocol protocol, std::string_view what);

/// Which buffers a dispatch over so many ranks has.
ExpertExchange exchange_of(DispatchProtocol protocol, std::int64_t ranks, const Model& model);

/// Throws ConfigError or ModelError. `place` is the scenario's file.
PreparedStep prepare_step(const Scenario& scenario, const Place& place);

/// A file that a result depends on.
struct InputFile {
  std::filesystem::path path;
  std::string sha256;
};

/// The files with their contents' SHA-256. Throws ConfigError where one cannot be read.
std::vector<InputFile> hashed(std::span<const std::filesystem::path> paths);

/// The files that a scenario names, or what else has these parts.
std::vector<InputFile> input_files(const ModelChoice& model, const ClusterChoice& cluster, const ProfileChoice& kernels,
                                   const RoutingConfig& routing, const PlacementConfig& placement);
std::vector<InputFile> input_files(const Scenario& scenario);

/// Routed tokens of one MoE layer: max over ranks / mean over ranks.
struct LayerImbalance {
  double step = 1.0;                ///< of the tokens that ran
  std::optional<double> recording;  ///< of all that was recorded, where only counts were
};

/// Rows that the experts of all layers and ranks compute.
struct RowCounts {
  double routed = 0.0;
  double computed = 0.0;  ///< those that only fill a buffer or a tile included
};

/// Everything that one step's simulation found out. Reports are made from this.
struct StepResult {
  Scenario scenario;
  ClusterConfig cluster;
  std::string model_name;
  Accelerator accelerator;
  ParameterCount parameters_total;
  ParameterCount parameters_active;
  Flops model_work;                              ///< model_work, all parts
  Duration model_time;                           ///< of one GPU at the dense peak rates of their types
  DataType weights = DataType::kBf16;            ///< type of matrices beside the routed experts
  DataType expert_weights = DataType::kBf16;     ///< of these
  DataType attention_weights = DataType::kBf16;  ///< of attention and recurrences
  std::vector<MemoryFootprint> memory;           ///< [ranks]
  std::vector<LayerImbalance> imbalance;         ///< [MoE layers]
  std::vector<std::size_t> moe_layer_index;      ///< [MoE layers]: which layer of the model
  std::int64_t tokens = 0;                       ///< that the model computes, of all sequences
  double tokens_per_step = 1.0;                  ///< expected new tokens of a sequence, in a decode step
  double new_tokens = 0.0;                       ///< of all sequences: `tokens`, or with drafts those accepted
  std::size_t ranks = 0;
  std::size_t layers = 0;
  std::vector<std::string> link_names;  ///< [links]
  std::vector<Bandwidth> link_capacity;
  std::string routing_provenance;
  std::optional<RouterOutcome> router;  ///< where a router made the choices
  RowCounts padding;
  std::vector<std::string> warnings;
  std::vector<InputFile> inputs;
  Execution execution;
};

/// Prepares a scenario and runs its step. Throws ConfigError or ModelError.
StepResult run_step(const Scenario& scenario, const Place& place, const TaskPool& pool);

}  // namespace moesim
