#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "models/architecture/architecture.hpp"
#include "sim/core/task_pool.hpp"
#include "sim/placement/placement.hpp"
#include "sim/program/dispatch.hpp"
#include "sim/program/operators.hpp"
#include "sim/program/program.hpp"
#include "sim/program/traffic.hpp"
#include "topologies/cluster.hpp"
#include "workloads/routing/source.hpp"

namespace moesim {

/// Whether the shared experts run while tokens are on their way, or before they are sent.
enum class SharedExpertSchedule { kOverlapped, kSerial };
template <>
struct EnumNames<SharedExpertSchedule> {
  static constexpr auto names = std::to_array<std::pair<SharedExpertSchedule, std::string_view>>(
      {{SharedExpertSchedule::kOverlapped, "overlapped"}, {SharedExpertSchedule::kSerial, "serial"}});
};

/// Whether permuting tokens into their experts' order and back takes kernels of its own.
enum class Permutation { kApart, kInExperts };

/// Ranks 0 … R−1: attention in groups of `tensor_parallel` neighbours, data-parallel between groups; experts spread
/// over groups of `expert_tensor_parallel` neighbours, whose ranks have a part of each of the group's experts.
struct StepPlan {
  const Model* model = nullptr;
  const Cluster* cluster = nullptr;
  const Placement* placement = nullptr;
  const StepRouting* routing = nullptr;
  std::size_t ranks = 1;
  int tensor_parallel = 1;
  int expert_tensor_parallel = 1;  ///< more than 1 only where the tokens stay in place
  Precision precision;
  BatchShape batch;  ///< per attention group
  DispatchProtocol dispatch = DispatchProtocol::kDeepEpLowLatency;
  std::optional<int> communication_units = std::nullopt;  ///< SMs of dispatch and combine; absent: the profile's
  /// Of the tensor-parallel groups, where results are summed and everybody needs them; nullptr: a reduce-scatter, then
  /// an all-gather.
  const CollectiveAlgorithm* all_reduce = nullptr;
  Permutation permutation = Permutation::kApart;
  SharedExpertSchedule shared_experts = SharedExpertSchedule::kOverlapped;
  int micro_batches = 1;  ///< that the batch is split in (micro_batch.hpp); more than 1 only where tokens are sent
  /// Tokens that are drafted for each sequence (draft_passes.cpp), as many as batch.query verifies beside the first; 0:
  /// none.
  int draft_tokens = 0;
  ReplicaChoice replica_choice = ReplicaChoice::kInTurn;
  std::uint64_t seed = 0;            ///< of random choices among copies
  std::int64_t expert_row_tile = 1;  ///< each expert's rows are filled up to a multiple of this
};

/// Where each rank's tokens begin among all tokens of a step, [ranks + 1]: a group's tokens are split over its ranks
/// as evenly as whole tokens allow.
std::vector<std::size_t> token_offsets(std::size_t ranks, int tensor_parallel, std::int64_t tokens_per_group);

struct StepProgram {
  Program program;
  /// [micro-batches][MoE layers that run], of the model itself; what drafts tokens is not in
  std::vector<std::vector<LayerTraffic>> traffic;
  std::vector<std::size_t> moe_layers;  ///< which those are, among the model's MoE layers
};

/// Encoder layers run in prefill only, the decoder layers of an encoder–decoder model in decode only.
bool layer_runs(const Model& model, const Layer& layer, StepPhase phase);

/// Lays out one forward step of the layers that run.
StepProgram build_step(const StepPlan& plan, const TaskPool& pool);

}  // namespace moesim
