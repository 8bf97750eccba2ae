#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "models/architecture/architecture.hpp"
#include "models/kernels/precision.hpp"
#include "sim/core/quantity.hpp"
#include "sim/core/task_pool.hpp"
#include "sim/placement/placement.hpp"
#include "sim/program/dispatch.hpp"
#include "sim/program/program.hpp"
#include "sim/program/step.hpp"
#include "sim/program/traffic.hpp"
#include "topologies/cluster.hpp"
#include "workloads/routing/types.hpp"

/// What a chunk of a model's layers does with a micro-batch in training, forward and backward, as programs for
/// `execute`. Sends between pipeline stages, and everything after the last micro-batch (reducing gradients, the
/// optimizer, casting weights to fp8), are not part of it.
namespace moesim {

/// What a chunk of layers does with one micro-batch.
enum class Pass {
  kForward,
  kBackward,        ///< gradients of activations and of weights; recomputes first what was not kept
  kBackwardInput,   ///< gradients of activations alone (zero-bubble schedules, DualPipe); recomputes first
  kBackwardWeight,  ///< those of weights, put off
  kForwardBackward  ///< a forward pass beside a whole backward pass of another micro-batch (build_overlapped)
};
template <>
struct EnumNames<Pass> {
  static constexpr auto names =
      std::to_array<std::pair<Pass, std::string_view>>({{Pass::kForward, "forward"},
                                                        {Pass::kBackward, "backward"},
                                                        {Pass::kBackwardInput, "backward-input"},
                                                        {Pass::kBackwardWeight, "backward-weight"},
                                                        {Pass::kForwardBackward, "forward-backward"}});
};

/// What is not kept between forward and backward, but computed again.
enum class Recompute {
  kNone,
  /// Norms, latent attention's up-projections and the activations between a feed-forward block's two products
  /// (DeepSeek-V3 report, arXiv 2412.19437, section 3.2.3; Megatron-Core's recompute_modules layernorm, mla_up_proj,
  /// moe_act and mlp_act).
  kSelective,
  kFull  ///< whole layers, their dispatch and combine too (Megatron-Core's recompute_granularity full)
};
template <>
struct EnumNames<Recompute> {
  static constexpr auto names = std::to_array<std::pair<Recompute, std::string_view>>(
      {{Recompute::kNone, "none"}, {Recompute::kSelective, "selective"}, {Recompute::kFull, "full"}});
};

/// What else than layers a chunk has.
enum class ChunkEnds {
  kInner,
  kFirst,  ///< the embedding before them
  kLast,   ///< norm, head and loss behind them
  kBoth
};

/// When gradients of weights are computed in a whole backward pass.
enum class WeightGradients {
  kAtOnce,         ///< each product's right behind that of its input, as automatic differentiation has it
  kBesideExchange  ///< while the gradients of the inputs are on their way (Megatron-Core's delay_wgrad_compute)
};
template <>
struct EnumNames<WeightGradients> {
  static constexpr auto names = std::to_array<std::pair<WeightGradients, std::string_view>>(
      {{WeightGradients::kAtOnce, "at-once"}, {WeightGradients::kBesideExchange, "beside-exchange"}});
};

/// In which types gradients are summed and sent.
struct GradientTypes {
  DataType weights = DataType::kFp32;   ///< of the buffer that gradients of weights are added to
  DataType dispatch = DataType::kBf16;  ///< of output gradients on their way to the experts
  DataType combine = DataType::kBf16;   ///< of input gradients on their way back

  static constexpr std::string_view kDoc = "Types of gradients";
  template <class F>
  static void describe(F& f) {
    f.optional("weights", &GradientTypes::weights, "Buffer that gradients of weights are added to");
    f.optional("dispatch", &GradientTypes::dispatch, "Gradients of the experts' outputs on their way to the experts");
    f.optional("combine", &GradientTypes::combine, "Gradients of the experts' inputs on their way back");
  }
};

/// A chunk of layers on ranks 0 … R−1 of a cluster, which are one expert-parallel group: attention in groups of
/// `tensor_parallel` neighbours with sequence parallelism (Korthikanti et al. 2022, arXiv 2205.05198, section 4.2.2),
/// data-parallel between them, experts whole and spread over all ranks.
struct ChunkPlan {
  const Model* model = nullptr;
  const Cluster* cluster = nullptr;
  const Placement* placement = nullptr;  ///< of all MoE layers of the model; nullptr where the chunk has none
  /// Of the group's tokens, [ranks / tensor_parallel · sequences · sequence_length], all MoE layers of the model.
  const StepRouting* routing = nullptr;
  std::size_t ranks = 1;
  int tensor_parallel = 1;
  std::size_t first_layer = 0;  ///< the chunk has layers first_layer … last_layer − 1
  std::size_t last_layer = 0;
  ChunkEnds ends = ChunkEnds::kInner;
  /// Weights' types are those that products are computed in, forward and backward (DeepSeek-V3 report, section 3.3.1).
  /// The KV type is not used: attention takes activations.
  Precision precision;
  GradientTypes gradients;
  std::int64_t sequences = 1;  ///< of a micro-batch, per attention group
  std::int64_t sequence_length = 0;
  DispatchProtocol dispatch = DispatchProtocol::kDeepEpNormal;
  std::optional<int> communication_units = std::nullopt;  ///< SMs of dispatch and combine; absent: the profile's
  Recompute recompute = Recompute::kNone;
  WeightGradients weight_gradients = WeightGradients::kAtOnce;
  SharedExpertSchedule shared_experts = SharedExpertSchedule::kSerial;
  std::int64_t expert_row_tile = 1;  ///< each expert's rows are filled up to a multiple of this

  [[nodiscard]] std::int64_t tokens() const { return sequences * sequence_length; }
};

struct ChunkProgram {
  Program program;
  std::vector<LayerTraffic> traffic;  ///< [MoE layers of the chunk]; of the forward chunk first where there are two
  /// What a pass is counted as, all ranks: 2 FLOP for each weight and row forward, 4 backward, of which 2 for each of
  /// the two gradients, and attention's two products forward, four backward. Nothing that is computed again, and no
  /// rows that only fill a tile.
  Flops model_work = {};
};

/// Why a chunk cannot be laid out; empty where it can: training of encoders is not known, nor experts whose tokens stay
/// in place.
std::string_view chunk_obstacle(const ChunkPlan& plan);

/// `pass` is not kForwardBackward. Stage 0 of the program is what comes before the first layer, stage i + 1 the chunk's
/// i-th layer, the last stage the head.
ChunkProgram build_pass(const ChunkPlan& plan, Pass pass, const TaskPool& pool);

/// The forward pass of one micro-batch beside the whole backward pass of another, on the same ranks of the same
/// cluster, in turns: while the one computes, the other's tokens are on their way (DeepSeek-V3 report, section 3.2.1,
/// figure 4). The backward chunk's stages come behind the forward chunk's.
ChunkProgram build_overlapped(const ChunkPlan& forward, const ChunkPlan& backward, const TaskPool& pool);

}  // namespace moesim
