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
#include "sim/config/describe.hpp"
#include "sim/core/quantity.hpp"

/// What one rank must hold while it trains. All shapes are those of one rank.
namespace moesim {

/// Who has master weights and moments of a parameter.
enum class OptimizerSharding {
  kReplicated,  ///< every rank that has the parameter
  kDistributed  ///< one of the data-parallel ranks that have it (ZeRO-1, Megatron-Core's distributed optimizer)
};
template <>
struct EnumNames<OptimizerSharding> {
  static constexpr auto names = std::to_array<std::pair<OptimizerSharding, std::string_view>>(
      {{OptimizerSharding::kReplicated, "replicated"}, {OptimizerSharding::kDistributed, "distributed"}});
};

/// What of a layer is kept from its forward pass to its backward pass.
enum class KeptActivations {
  kAll,
  kSelective,   ///< without outputs of norms, of latent attention's up-projections and of activation functions
  kLayerInputs  ///< the layer's input alone
};

/// Bytes of an element of what optimizers keep.
struct StateTypes {
  DataType parameters = DataType::kBf16;
  DataType gradients = DataType::kFp32;
  DataType master = DataType::kFp32;
  DataType first_moment = DataType::kFp32;
  DataType second_moment = DataType::kFp32;
};

/// Layers first … last − 1 on the rank, with as many micro-batches between forward and backward.
struct ChunkInFlight {
  std::size_t first_layer = 0;
  std::size_t last_layer = 0;
  bool embeds = false;
  bool has_head = false;
  std::size_t micro_batches = 0;
  /// Of them, those whose loss has not gone back: others wait for gradients of weights alone. Absent: all.
  std::optional<std::size_t> before_backward = std::nullopt;
};

struct TrainingMemoryRequest {
  const Model& model;
  Precision precision = {};
  StateTypes types = {};
  KeptActivations kept = KeptActivations::kAll;
  /// Of inputs of activation functions and outputs of attention; absent: that of activations.
  std::optional<DataType> kept_type = std::nullopt;
  OptimizerSharding sharding = OptimizerSharding::kDistributed;
  int tensor_parallel = 1;
  std::int64_t expert_parallel = 1;
  std::int64_t data_parallel = 1;         ///< ranks that have the same part of what is no routed expert
  std::int64_t expert_data_parallel = 1;  ///< the same of a routed expert
  std::int64_t tokens = 0;                ///< of a micro-batch, of the tensor-parallel group
  /// Rows of the fullest rank's experts / those of balanced ones.
  double expert_load = 1.0;
  std::size_t at_once = 1;  ///< micro-batches that compute side by side
  std::vector<ChunkInFlight> chunks = {};
  Bytes communication_buffers = {};
  Bytes reserve = {};
};

struct TrainingFootprint {
  Bytes weights;         ///< in the type that the model keeps, and casts of them for products in 8 bits
  Bytes expert_weights;  ///< the same of routed experts
  Bytes gradients;       ///< all
  Bytes optimizer;       ///< master weights and moments
  Bytes activations;     ///< kept for backward passes
  Bytes logits;          ///< and their softmax
  Bytes working_set;     ///< of the layer that computes
  Bytes communication_buffers;
  Bytes reserve;

  struct Part {
    std::string_view name;
    Bytes size;
  };
  [[nodiscard]] std::array<Part, 9> parts() const;
  [[nodiscard]] Bytes total() const;
};

/// Parameters of a rank's chunk.
struct RankParameters {
  double dense = 0.0;    ///< what is no routed expert
  double experts = 0.0;  ///< routed ones
};
RankParameters rank_parameters(const TrainingMemoryRequest& request, const ChunkInFlight& chunk);

/// What one micro-batch leaves behind in a chunk until its backward pass, logits apart.
Bytes kept_bytes(const TrainingMemoryRequest& request, const ChunkInFlight& chunk);

TrainingFootprint training_footprint(const TrainingMemoryRequest& request);

}  // namespace moesim
