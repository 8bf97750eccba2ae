#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace moesim {

/// An expert's number within its layer, 0 .. experts−1.
using ExpertIndex = std::uint16_t;
/// A slot of a token that no expert serves: the choice was dropped, or the router made fewer than there are slots. No
/// model has an expert of this number: routers take at most 65,535.
inline constexpr ExpertIndex kNoExpert = 0xFFFF;

/// Chosen experts per token: [tokens, layers, k]. Layers are MoE layers only, in the model's order.
struct RoutingShape {
  std::size_t tokens = 0;  ///< 0 where a source can draw any number of them
  std::size_t layers = 0;
  std::size_t k = 0;
  std::size_t experts = 0;
  bool operator==(const RoutingShape&) const = default;
};

/// Which token of which sequence stands at a place in a batch.
struct TokenSlot {
  std::uint32_t sequence = 0;
  std::uint32_t position = 0;
  bool operator==(const TokenSlot&) const = default;
};

/// The tokens of one step, rank by rank. Neighbours of one sequence with rising positions are a run (prefill); a run
/// of one is a decode token.
struct TokenBatch {
  std::vector<TokenSlot> tokens;
};

/// Buffers of fixed size between tokens and experts (GShard, Switch): of each group of `group_tokens` neighbouring
/// tokens every expert takes rows[group] rows, full or not, which are sent and computed all the same.
struct CapacityLayout {
  std::size_t group_tokens = 0;
  std::vector<std::uint32_t> rows;  ///< [groups], per expert; the last group may be shorter
};

/// What a router did with the tokens of one layer.
struct RoutedLayerCounts {
  std::size_t choices = 0;          ///< that it made
  std::size_t dropped = 0;          ///< of those, the ones that found no room
  std::size_t unserved_tokens = 0;  ///< tokens that go to no expert at all
};

/// What routers tell beyond the choices that are left.
struct RouterOutcome {
  std::vector<RoutedLayerCounts> layers;
  std::optional<CapacityLayout> buffers = std::nullopt;  ///< absent: as many rows as were routed
};

/// What a step's tokens chose: [layers, tokens, k], row-major; kNoExpert where a slot is empty.
struct StepRouting {
  RoutingShape shape;
  std::vector<ExpertIndex> choices;
  std::vector<std::string> warnings;  ///< what the reader of a result should know, such as reused tokens
  std::optional<RouterOutcome> router = std::nullopt;  ///< where a router of ours made the choices

  [[nodiscard]] std::span<const ExpertIndex> layer(std::size_t layer) const {
    return std::span(choices).subspan(layer * shape.tokens * shape.k, shape.tokens * shape.k);
  }
  [[nodiscard]] std::span<const ExpertIndex> token(std::size_t layer, std::size_t token) const {
    return std::span(choices).subspan((layer * shape.tokens + token) * shape.k, shape.k);
  }
};

/// What a model asks of its routing.
struct RoutingNeeds {
  std::size_t moe_layers = 0;
  std::size_t all_layers = 0;  ///< dense ones included: some recorders write a row for every layer
  std::size_t k = 0;
  std::size_t experts = 0;
  std::size_t groups = 1;                                ///< experts come in blocks of experts/groups
  std::size_t groups_per_token = 1;                      ///< blocks that a token's experts may come from
  std::vector<std::size_t> moe_layer_indices = {};       ///< among all layers; empty: the last moe_layers of them
  std::string router = {};                               ///< the model's own, a name of `moesim list routers`
  std::optional<double> capacity_factor = std::nullopt;  ///< the model's own at inference; absent: none is dropped
};

}  // namespace moesim
