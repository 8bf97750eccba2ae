#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/config/describe.hpp"
#include "sim/core/error.hpp"
#include "sim/core/id.hpp"
#include "sim/core/task_pool.hpp"
#include "workloads/routing/types.hpp"

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

/// What one layer takes with its experts placed one way or another: what a search is for.
class LayerClock {
 public:
  virtual ~LayerClock() = default;
  /// In seconds; may be called from many threads.
  [[nodiscard]] virtual double time(std::size_t layer, const LayerPlacement& placement) const = 0;
};

/// A placement that is already there, and what its layers were found to take.
struct TimedPlacement {
  Placement placement;
  std::vector<double> layer_time;  ///< [layers], s
};

/// What a strategy is asked to place. Beyond the first three, strategies make do without what is absent.
struct PlacementProblem {
  std::size_t layers = 0;
  std::size_t experts = 0;
  std::size_t ranks = 0;
  std::uint64_t seed = 0;
  std::size_t redundant = 0;       ///< copies beyond one of each expert; experts + redundant slots per layer
  std::size_t ranks_per_node = 0;  ///< 0: all ranks in one node
  std::size_t groups = 1;          ///< experts come in blocks, of which routing takes a few per token
  std::vector<std::size_t> model_layers = {};  ///< [layers]: which of all the model's layers each is, for maps
  std::size_t all_layers = 0;                  ///< of the model, dense ones included; 0: as many as `layers`
  std::span<const double> loads = {};          ///< [layers, experts], tokens per expert; empty: all alike
  const StepRouting* tokens = nullptr;         ///< a sample of choices
  const TaskPool* pool = nullptr;              ///< absent: one thread
  const LayerClock* clock = nullptr;           ///< what layers take
  std::span<const TimedPlacement> known = {};  ///< placements of other strategies
  const Placement* before = nullptr;           ///< where experts lie now; absent: nowhere yet

  [[nodiscard]] std::size_t slots() const { return experts + redundant; }
  [[nodiscard]] std::size_t slots_per_rank() const { return slots() / ranks; }
  [[nodiscard]] std::size_t nodes() const {
    return ranks_per_node == 0 ? 1 : (ranks + ranks_per_node - 1) / ranks_per_node;
  }
  /// Tokens per expert of one layer; ones where nothing is known.
  [[nodiscard]] std::vector<double> layer_loads(std::size_t layer) const;
};

/// Decides where experts live.
class PlacementStrategy {
 public:
  virtual ~PlacementStrategy() = default;
  /// Every expert gets a slot, every rank slots_per_rank() of them. The same problem gives the same placement on any
  /// number of threads.
  [[nodiscard]] virtual Placement place(const PlacementProblem& problem) const = 0;
  /// What the reader of a result should know, such as a time limit that was hit.
  [[nodiscard]] virtual std::vector<std::string> warnings() const { return {}; }
};

/// A strategy that places each layer by itself.
class LayerwiseStrategy : public PlacementStrategy {
 public:
  [[nodiscard]] Placement place(const PlacementProblem& problem) const final;

 protected:
  /// The expert in each slot, rank by rank: [slots].
  [[nodiscard]] virtual std::vector<std::uint16_t> place_layer(const PlacementProblem& problem,
                                                               std::size_t layer) const = 0;
};

/// One row of the table of strategies, which `moesim list placements`, the schema and the docs show.
struct StrategyEntry {
  std::string_view name;
  std::string_view summary;
  std::string_view source;
  std::unique_ptr<PlacementStrategy> (*make)();
  enum class Needs { kNothing, kLoads, kTokens } needs = Needs::kNothing;
};
std::span<const StrategyEntry> placement_strategies();
/// Throws ConfigError at `place` for a name that is not in the table.
const StrategyEntry& find_strategy(std::string_view name, const Place& place);

/// Which copy of its expert a token goes to, where there are several.
enum class ReplicaChoice {
  kInTurn,    ///< one after the other, over the whole batch
  kRandom,    ///< any, as likely
  kNearest,   ///< on the token's own GPU, else in its node (in turn), else in turn
  kBalanced,  ///< so that the busiest rank of the batch has as few rows as can be (LPLB)
  kFewest,    ///< one copy of each expert for the whole batch, on the rank with the fewest experts awake (METRO)
};
template <>
struct EnumNames<ReplicaChoice> {
  static constexpr auto names =
      std::to_array<std::pair<ReplicaChoice, std::string_view>>({{ReplicaChoice::kInTurn, "in-turn"},
                                                                 {ReplicaChoice::kRandom, "random"},
                                                                 {ReplicaChoice::kNearest, "nearest"},
                                                                 {ReplicaChoice::kBalanced, "balanced"},
                                                                 {ReplicaChoice::kFewest, "fewest-active"}});
};

/// How a scenario says where experts live.
struct PlacementConfig {
  std::string strategy = "contiguous";
  std::size_t redundant_experts = 0;
  ReplicaChoice replica_choice = ReplicaChoice::kInTurn;
  std::optional<FilePath> file = std::nullopt;

  template <class F>
  static void describe(F& f) {
    f.optional("strategy", &PlacementConfig::strategy, "`moesim list placements`");
    f.optional("redundant_experts", &PlacementConfig::redundant_experts,
               "Copies of experts beyond one of each, per layer and over all ranks", Rules::between(0, 1 << 24));
    f.optional("replica_choice", &PlacementConfig::replica_choice,
               "Which copy of an expert a token goes to: one after the other, any, the nearest, the one that balances "
               "the batch, or one for the whole batch");
    f.optional("file", &PlacementConfig::file,
               "A map of SGLang, TensorRT-LLM, vllm-ascend or EPLB, in place of a strategy");
  }
};

/// Throws ConfigError at `place` unless the ranks divide the slots and every expert can have one.
void check_slots(const PlacementProblem& problem, std::string_view strategy, const Place& place);

/// Throws ConfigError at `place`: unknown strategy, slots that the ranks do not divide, a map that does not fit.
Placement place_experts(const PlacementConfig& config, const PlacementProblem& problem, const Place& place);

/// From the expert in each slot, rank by rank, with equally many slots each.
LayerPlacement layer_of_slots(std::size_t experts, std::size_t ranks, std::span<const std::uint16_t> slots);

/// Routed tokens per rank of one layer, [ranks], from tokens per expert, [experts]. A replicated expert's tokens are
/// split evenly over its copies.
std::vector<double> rank_loads(const LayerPlacement& placement, std::span<const double> expert_loads);
/// max / mean; 1 where nothing is routed.
double load_imbalance(std::span<const double> loads);

}  // namespace moesim
