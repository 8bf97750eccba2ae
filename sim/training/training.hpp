#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/architecture/architecture.hpp"
#include "models/kernels/fitted.hpp"
#include "models/kernels/precision.hpp"
#include "models/memory/training.hpp"
#include "sim/config/catalogue.hpp"
#include "sim/config/describe.hpp"
#include "sim/execute/fidelity.hpp"
#include "sim/placement/placement.hpp"
#include "sim/program/training_pass.hpp"
#include "topologies/cluster_config.hpp"
#include "workloads/routing/routing_config.hpp"

namespace moesim {

/// Ranks, one a GPU, in Megatron-Core's order: tensor-parallel neighbours first, then data-parallel, the pipeline's
/// ranks outermost, so that pipeline rank p has GPUs p·R … (p+1)·R − 1 with R = ranks / pipeline_parallel. Experts are
/// folded over these R: expert-parallel groups of neighbours, whatever attention does with them.
struct TrainingParallelism {
  std::int64_t ranks = 1;
  int tensor_parallel = 1;
  std::int64_t pipeline_parallel = 1;
  std::int64_t virtual_stages = 1;
  std::int64_t expert_parallel = 1;
  std::vector<std::int64_t> layers_per_stage;

  [[nodiscard]] std::int64_t ranks_per_stage() const { return ranks / pipeline_parallel; }
  [[nodiscard]] std::int64_t data_parallel() const { return ranks_per_stage() / tensor_parallel; }

  template <class F>
  static void describe(F& f) {
    using P = TrainingParallelism;
    f.required("ranks", &P::ranks, "GPUs; data-parallel size = ranks / (tensor_parallel * pipeline_parallel)",
               Rules::between(1, 1 << 20));
    f.optional("tensor_parallel", &P::tensor_parallel,
               "Ranks that share everything but routed experts, with sequence parallelism", Rules::between(1, 1024));
    f.optional("pipeline_parallel", &P::pipeline_parallel, "Ranks of a pipeline", Rules::between(1, 4096));
    f.optional("virtual_stages", &P::virtual_stages,
               "Stages of a pipeline rank, for schedules that have several (dualpipe-v: 2)", Rules::between(1, 1024));
    f.optional("expert_parallel", &P::expert_parallel,
               "Ranks that the routed experts are spread over; divides the ranks of a stage",
               Rules::between(1, 1 << 20));
    f.optional(
        "layers_per_stage", &P::layers_per_stage,
        "Of each stage in the model's order; absent: as even as can be, the first and the last stage, which have "
        "the embedding and the head, first to have one less",
        Rules::at_least(1));
  }
};

/// What an optimizer step works on.
struct BatchConfig {
  std::int64_t sequence_length = 0;
  std::int64_t micro_batch = 1;
  std::int64_t global_batch = 0;

  template <class F>
  static void describe(F& f) {
    f.required("sequence_length", &BatchConfig::sequence_length, "Tokens of a sequence", Rules::between(1, 1 << 24));
    f.optional("micro_batch", &BatchConfig::micro_batch, "Sequences of a micro-batch, per data-parallel rank",
               Rules::between(1, 1 << 20));
    f.required("global_batch", &BatchConfig::global_batch, "Sequences of a step, of all data-parallel ranks",
               Rules::between(1, 1 << 28));
  }
};

/// How tokens travel.
struct TrainingDispatch {
  DispatchProtocol protocol = DispatchProtocol::kDeepEpNormal;
  SharedExpertSchedule shared_experts = SharedExpertSchedule::kSerial;
  std::optional<int> communication_units;
  std::optional<std::int64_t> expert_row_tile;

  template <class F>
  static void describe(F& f) {
    f.optional("protocol", &TrainingDispatch::protocol, "`moesim list protocols`");
    f.optional("shared_experts", &TrainingDispatch::shared_experts,
               "Whether shared experts run while tokens are on their way");
    f.optional("communication_units", &TrainingDispatch::communication_units,
               "SMs of dispatch and combine kernels that keep some; absent: what the profile says",
               Rules::between(1, 4096));
    f.optional("expert_row_tile", &TrainingDispatch::expert_row_tile,
               "Rows of each expert are filled up to a multiple of this; absent: none", Rules::between(1, 65536));
  }
};

/// Whether an exchange of gradients or parameters runs beside passes.
enum class Overlap { kNone, kOverlapped };
template <>
struct EnumNames<Overlap> {
  static constexpr auto names = std::to_array<std::pair<Overlap, std::string_view>>(
      {{Overlap::kNone, "none"}, {Overlap::kOverlapped, "overlapped"}});
};

/// Adam with master weights.
struct OptimizerConfig {
  OptimizerSharding states = OptimizerSharding::kDistributed;
  Overlap gradient_reduce = Overlap::kOverlapped;
  Overlap parameter_gather = Overlap::kOverlapped;
  DataType reduce_type = DataType::kFp32;
  DataType parameters = DataType::kBf16;
  DataType master = DataType::kFp32;
  DataType first_moment = DataType::kFp32;
  DataType second_moment = DataType::kFp32;

  template <class F>
  static void describe(F& f) {
    using O = OptimizerConfig;
    f.optional("states", &O::states,
               "replicated: every rank has all of its parameters' master weights and moments, gradients are "
               "all-reduced; distributed: each data-parallel rank has a part of them (ZeRO-1)");
    f.optional("gradient_reduce", &O::gradient_reduce,
               "overlapped: gradients of a layer are reduced as soon as the last micro-batch's are there");
    f.optional("parameter_gather", &O::parameter_gather,
               "overlapped: parameters of a layer are gathered while layers before it run forward");
    f.optional("reduce_type", &O::reduce_type, "In which gradients are sent");
    f.optional("parameters", &O::parameters, "In which the model keeps its parameters, and they are gathered");
    f.optional("master", &O::master, "Master weights");
    f.optional("first_moment", &O::first_moment, "Adam's mean of gradients");
    f.optional("second_moment", &O::second_moment, "Adam's mean of their squares");
  }
};

struct TrainingMemoryConfig {
  double fraction = 1.0;
  Bytes reserve = bytes(3.9e9);

  template <class F>
  static void describe(F& f) {
    f.optional("fraction", &TrainingMemoryConfig::fraction, "Of the HBM that may be used", Rules::between(0.01, 1));
    f.optional("reserve", &TrainingMemoryConfig::reserve,
               "Outside everything that is counted: CUDA context, workspaces, NCCL");
  }
};

/// One step of a training run.
struct Training {
  std::string name;
  std::string description;
  ModelChoice model;
  ClusterChoice cluster;
  ProfileChoice kernels;
  Precision precision;
  GradientTypes gradients;
  TrainingParallelism parallelism;
  std::string schedule = "1f1b";
  BatchConfig batch;
  Recompute recompute = Recompute::kNone;
  std::optional<DataType> kept_activations;
  WeightGradients weight_gradients = WeightGradients::kAtOnce;
  RoutingConfig routing;
  std::int64_t routing_samples = 2;
  PlacementConfig placement;
  TrainingDispatch dispatch;
  OptimizerConfig optimizer;
  TrainingMemoryConfig memory;
  Fidelity fidelity = Fidelity::kFlow;
  std::optional<PriceRate> price_per_gpu;
  std::uint64_t seed = 1;

  static constexpr std::string_view kDoc = "One training step of a model on a cluster";
  template <class F>
  static void describe(F& f) {
    using T = Training;
    f.tag("schema", "moesim.training/1");
    f.optional("name", &T::name, "What results call it");
    f.optional("description", &T::description, "For people");
    f.required("model", &T::model, "`moesim list models`, a moesim.model/1 file, or a Hugging Face config.json");
    f.required("cluster", &T::cluster, "`moesim list clusters` or a moesim.cluster/1 file");
    f.optional("kernels", &T::kernels, "Profile of kernel and communication costs");
    f.optional("precision", &T::precision,
               "Types that products are computed in (weights), activations, and what is sent");
    f.optional("gradients", &T::gradients, "Types of gradients");
    f.required("parallelism", &T::parallelism, "How the model is spread over GPUs");
    f.optional("schedule", &T::schedule, "Of the pipeline: `moesim list schedules`");
    f.required("batch", &T::batch, "Sequences of a step");
    f.optional(
        "recompute", &T::recompute,
        "What is not kept for backward passes: nothing; norms, latent up-projections and activation functions; or "
        "whole layers");
    f.optional("kept_activations", &T::kept_activations,
               "Type in which inputs of activation functions and outputs of attention are kept for backward passes; "
               "absent: that of activations");
    f.optional("weight_gradients", &T::weight_gradients,
               "When gradients of weights are computed in a whole backward pass");
    f.required("routing", &T::routing, "Which experts the tokens choose");
    f.optional("routing_samples", &T::routing_samples,
               "Micro-batches whose routing is drawn and simulated; the step's take them in turn",
               Rules::between(1, 64));
    f.optional("placement", &T::placement, "Which experts live where");
    f.optional("dispatch", &T::dispatch, "How tokens travel");
    f.optional("optimizer", &T::optimizer, "Its states, and how gradients and parameters travel");
    f.optional("memory", &T::memory, "How much of the GPUs' memory may be used");
    f.optional("fidelity", &T::fidelity, "flow: transfers share links; bound: each link by itself");
    f.optional("price_per_gpu", &T::price_per_gpu, "Price of one GPU", Rules::above_zero());
    f.optional("seed", &T::seed, "Of every random draw");
  }
};
extern template struct DescribedCodec<Training>;

/// Trainings that come with the program.
const Catalogue& training_catalogue();

}  // namespace moesim
