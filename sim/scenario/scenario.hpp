#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "models/architecture/architecture.hpp"
#include "models/kernels/precision.hpp"
#include "models/kernels/profile.hpp"
#include "sim/config/describe.hpp"
#include "sim/execute/fidelity.hpp"
#include "sim/placement/placement.hpp"
#include "sim/program/micro_batch.hpp"
#include "sim/program/step.hpp"
#include "sim/scenario/speculative.hpp"
#include "topologies/cluster_config.hpp"
#include "workloads/routing/routing_config.hpp"

namespace moesim {

/// The value of Parallelism::all_reduce that is no algorithm of its own.
inline constexpr std::string_view kSplitAllReduce = "reduce-scatter";

/// Ranks 0 … ranks−1, one per GPU. Attention is tensor-parallel in groups of neighbouring ranks and data-parallel
/// between the groups; routed experts are spread over all ranks, or over groups of neighbours that split each expert.
struct Parallelism {
  std::int64_t ranks = 1;
  int tensor_parallel = 1;
  int expert_tensor_parallel = 1;
  std::string all_reduce = "auto";

  [[nodiscard]] std::int64_t expert_parallel() const { return ranks / expert_tensor_parallel; }

  template <class F>
  static void describe(F& f) {
    f.required("ranks", &Parallelism::ranks, "GPUs used; the expert-parallel size is ranks / expert_tensor_parallel",
               Rules::between(1, 1 << 20));
    f.optional("tensor_parallel", &Parallelism::tensor_parallel,
               "Ranks that share the attention of the same sequences; divides ranks and the GPUs of a node",
               Rules::between(1, 1024));
    f.optional("expert_tensor_parallel", &Parallelism::expert_tensor_parallel,
               "Ranks that split the inner width of each expert; more than 1 only with dispatch protocol all-reduce",
               Rules::between(1, 1024));
    f.optional("all_reduce", &Parallelism::all_reduce,
               "How those ranks sum their parts: auto (the fastest), reduce-scatter (then an all-gather), or an "
               "algorithm of all_reduce in `moesim list collectives`");
  }
};

/// Two-batch overlap (sim/program/micro_batch.hpp).
inline constexpr std::string_view kMicroBatchesDoc =
    "In how many micro-batches the batch goes through the MoE layers, the one computing while the other's tokens are "
    "on their way (2: SGLang's two-batch overlap, vLLM's dual-batch overlap); absent: 1";

/// One new token of every running sequence, or with speculative decoding one and drafts of the step before, as many as
/// are accepted.
struct DecodeStep {
  static constexpr std::string_view kTag = "decode";
  std::int64_t sequences_per_dp_rank = 0;
  std::int64_t context = 0;
  std::optional<int> micro_batches = std::nullopt;
  std::optional<SpeculativeDecoding> speculative = std::nullopt;

  /// Verified beside each sequence's first new token, and drafted.
  [[nodiscard]] int draft_tokens() const { return speculative ? speculative->draft_tokens : 0; }

  template <class F>
  static void describe(F& f) {
    f.required("sequences_per_dp_rank", &DecodeStep::sequences_per_dp_rank,
               "Sequences of one data-parallel rank: tensor_parallel GPUs", Rules::between(1, 1 << 24));
    f.required("context", &DecodeStep::context,
               "Tokens that each attends to, the new one included (drafts that are verified come after it)",
               Rules::between(1, 1 << 27));
    f.optional("micro_batches", &DecodeStep::micro_batches, kMicroBatchesDoc, Rules::between(1, kMostMicroBatches));
    f.optional("speculative", &DecodeStep::speculative,
               "Several tokens a step, drafted by the model's own modules of multi-token prediction; absent: one");
  }
};

/// Whole prompts at once.
struct PrefillStep {
  static constexpr std::string_view kTag = "prefill";
  std::int64_t sequences_per_dp_rank = 0;
  std::int64_t prompt = 0;
  std::int64_t cached_prefix = 0;
  std::optional<int> micro_batches = std::nullopt;

  template <class F>
  static void describe(F& f) {
    f.required("sequences_per_dp_rank", &PrefillStep::sequences_per_dp_rank,
               "Prompts of one data-parallel rank: tensor_parallel GPUs", Rules::between(1, 1 << 24));
    f.required("prompt", &PrefillStep::prompt, "New tokens of each prompt", Rules::between(1, 1 << 27));
    f.optional("cached_prefix", &PrefillStep::cached_prefix, "Tokens before them whose keys and values are cached",
               Rules::between(0, 1 << 27));
    f.optional("micro_batches", &PrefillStep::micro_batches, kMicroBatchesDoc, Rules::between(1, kMostMicroBatches));
  }
};

using StepChoice = std::variant<DecodeStep, PrefillStep>;

inline int micro_batches_of(const StepChoice& step) {
  return std::visit([](const auto& choice) { return choice.micro_batches.value_or(1); }, step);
}

/// Tokens that are drafted for each sequence; 0: none.
inline int draft_tokens_of(const StepChoice& step) {
  const auto* decode = std::get_if<DecodeStep>(&step);
  return decode != nullptr ? decode->draft_tokens() : 0;
}

/// How tokens get to their experts and back.
struct DispatchConfig {
  DispatchProtocol protocol = DispatchProtocol::kDeepEpLowLatency;
  SharedExpertSchedule shared_experts = SharedExpertSchedule::kOverlapped;
  std::optional<int> communication_units;
  std::optional<std::int64_t> expert_row_tile;

  template <class F>
  static void describe(F& f) {
    f.optional("protocol", &DispatchConfig::protocol,
               "`moesim list protocols`: who sends what, such as every copy, one per GPU, or one per node that is "
               "forwarded inside it");
    f.optional("shared_experts", &DispatchConfig::shared_experts,
               "Whether shared experts run while tokens are on their way");
    f.optional("communication_units", &DispatchConfig::communication_units,
               "SMs of dispatch and combine kernels that keep some; absent: what the profile says",
               Rules::between(1, 4096));
    f.optional("expert_row_tile", &DispatchConfig::expert_row_tile,
               "Rows of each expert are filled up to a multiple of this (MegaBlocks and DeepGEMM: 128); absent: none",
               Rules::between(1, 65536));
  }
};

/// What a server may do with the GPU's memory.
struct MemoryConfig {
  double fraction = 1.0;
  std::int64_t kv_block = 1;

  static constexpr std::string_view kDoc = "What may be used of the GPUs' memory";
  template <class F>
  static void describe(F& f) {
    f.optional("fraction", &MemoryConfig::fraction,
               "Of the HBM that weights, cache, buffers and reserve may take together (vLLM's gpu_memory_utilization)",
               Rules::between(0.01, 1));
    f.optional("kv_block", &MemoryConfig::kv_block,
               "Tokens in a page of the KV cache; every sequence fills whole pages", Rules::between(1, 1048576));
  }
};

/// One question to the simulator.
struct Scenario {
  std::string name;
  std::string description;
  ModelChoice model;
  ClusterChoice cluster;
  ProfileChoice kernels;
  Precision precision;
  Parallelism parallelism;
  StepChoice step;
  RoutingConfig routing;
  PlacementConfig placement;
  DispatchConfig dispatch;
  MemoryConfig memory;
  Fidelity fidelity = Fidelity::kFlow;
  std::optional<PriceRate> price_per_gpu;
  std::uint64_t seed = 1;

  static constexpr std::string_view kDoc = "One step of a model on a cluster";
  template <class F>
  static void describe(F& f) {
    f.tag("schema", "moesim.scenario/1");
    f.optional("name", &Scenario::name, "What results call it");
    f.optional("description", &Scenario::description, "For people");
    f.required("model", &Scenario::model, "`moesim list models`, a moesim.model/1 file, or a Hugging Face config.json");
    f.required("cluster", &Scenario::cluster, "`moesim list clusters` or a moesim.cluster/1 file");
    f.optional("kernels", &Scenario::kernels,
               "Profile of kernel and communication costs: `moesim list profiles`, one that was fitted, `moesim list "
               "fits`, or a file of either");
    f.optional("precision", &Scenario::precision, "Types of the model's tensors");
    f.required("parallelism", &Scenario::parallelism, "How the model is spread over GPUs");
    f.required("step", &Scenario::step, "Decode or prefill");
    f.required("routing", &Scenario::routing, "Which experts the tokens choose");
    f.optional("placement", &Scenario::placement, "Which experts live where");
    f.optional("dispatch", &Scenario::dispatch, "How tokens travel");
    f.optional("memory", &Scenario::memory, "How much of the GPUs' memory may be used");
    f.optional("fidelity", &Scenario::fidelity,
               "flow: transfers share links; bound: each link by itself, for speed where ranks are many");
    f.optional("price_per_gpu", &Scenario::price_per_gpu, "Price of one GPU, for the cost per million tokens",
               Rules::above_zero());
    f.optional("seed", &Scenario::seed, "Of every random draw");
  }
};
extern template struct DescribedCodec<Scenario>;

/// Scenarios that come with the program.
const Catalogue& scenario_catalogue();

}  // namespace moesim
