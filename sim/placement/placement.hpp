#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/config/describe.hpp"
#include "sim/core/id.hpp"

namespace moesim {

/// Where the experts of one MoE layer live. Every rank holds a number of slots, every slot one expert; an expert may
/// have several slots (replicas).
class LayerPlacement {
 public:
  /// `slots[r]` lists the experts in rank r's slots. Throws InternalError unless every expert has a slot.
  LayerPlacement(std::size_t experts, const std::vector<std::vector<std::uint16_t>>& slots);

  [[nodiscard]] std::size_t experts() const { return first_replica_.size() - 1; }
  [[nodiscard]] std::size_t ranks() const { return first_slot_.size() - 1; }
  /// The experts in a rank's slots.
  [[nodiscard]] std::span<const std::uint16_t> slots_of(RankId rank) const {
    return std::span(slot_expert_)
        .subspan(first_slot_[rank.index()], first_slot_[rank.index() + 1] - first_slot_[rank.index()]);
  }
  /// One copy of an expert: its rank, and which of that rank's slots.
  struct Replica {
    RankId rank;
    std::uint32_t local_slot;
  };
  /// The copies of an expert, in order of rank; at least one.
  [[nodiscard]] std::span<const Replica> replicas_of(std::size_t expert) const {
    return std::span(replicas_).subspan(first_replica_[expert], first_replica_[expert + 1] - first_replica_[expert]);
  }

 private:
  std::vector<std::uint16_t> slot_expert_;    // [slots], rank by rank
  std::vector<std::uint32_t> first_slot_;     // [ranks + 1]
  std::vector<Replica> replicas_;             // [slots], expert by expert
  std::vector<std::uint32_t> first_replica_;  // [experts + 1]
};

/// Expert → ranks, per MoE layer.
struct Placement {
  std::vector<LayerPlacement> layers;
};

/// What a strategy is asked to place.
struct PlacementProblem {
  std::size_t layers = 0;
  std::size_t experts = 0;
  std::size_t ranks = 0;
  std::uint64_t seed = 0;
};

/// Decides where experts live.
class PlacementStrategy {
 public:
  virtual ~PlacementStrategy() = default;
  [[nodiscard]] virtual Placement place(const PlacementProblem& problem) const = 0;
};

/// One row of the table of strategies, which `moesim list placements`, the schema and the docs show.
struct StrategyEntry {
  std::string_view name;
  std::string_view summary;
  std::string_view source;
  std::unique_ptr<PlacementStrategy> (*make)();
};
std::span<const StrategyEntry> placement_strategies();

/// How a scenario says where experts live.
struct PlacementConfig {
  std::string strategy = "contiguous";

  template <class F>
  static void describe(F& f) {
    f.optional("strategy", &PlacementConfig::strategy, "`moesim list placements`");
  }
};

/// Throws ConfigError at `place`: unknown strategy, or experts that the ranks do not divide.
Placement place_experts(const PlacementConfig& config, const PlacementProblem& problem, const Place& place);

/// Routed tokens per rank of one layer, [ranks], from tokens per expert, [experts]. A replicated expert's tokens are
/// split evenly over its copies.
std::vector<double> rank_loads(const LayerPlacement& placement, std::span<const double> expert_loads);
/// max / mean; 1 where nothing is routed.
double load_imbalance(std::span<const double> loads);

}  // namespace moesim
