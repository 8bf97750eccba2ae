#include "sim/placement/placement.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "sim/core/error.hpp"
#include "sim/core/suggest.hpp"
#include "sim/placement/strategies.hpp"

namespace moesim {

LayerPlacement::LayerPlacement(std::size_t experts, const std::vector<std::vector<std::uint16_t>>& slots)
    : first_slot_{0}, first_replica_(experts + 1, 0) {
  for (const auto& rank_slots : slots) {
    for (const std::uint16_t expert : rank_slots) {
      ensure(expert < experts, "a slot holds an expert that the layer does not have");
      slot_expert_.push_back(expert);
      ++first_replica_[expert + 1];
    }
    first_slot_.push_back(static_cast<std::uint32_t>(slot_expert_.size()));
  }
  for (std::size_t e = 0; e < experts; ++e) {
    ensure(first_replica_[e + 1] > 0, "a placement leaves out an expert");
    first_replica_[e + 1] += first_replica_[e];
  }
  replicas_.resize(slot_expert_.size());
  std::vector<std::uint32_t> next(first_replica_.begin(), first_replica_.end() - 1);
  for (std::size_t r = 0; r < slots.size(); ++r) {
    for (std::size_t s = 0; s < slots[r].size(); ++s) {
      replicas_[next[slots[r][s]]++] = {RankId(r), static_cast<std::uint32_t>(s)};
    }
  }
}

std::span<const StrategyEntry> placement_strategies() {
  static constexpr StrategyEntry kStrategies[] = {
      {"contiguous", "experts 0 … E/R−1 on rank 0, and so on", "the default of vLLM, SGLang and Megatron-LM",
       make_contiguous},
      {"round-robin", "expert e on rank e mod R", "vLLM --expert-placement-strategy round_robin", make_round_robin},
      {"random", "a seeded random permutation per layer, equal counts", "baseline", make_random},
  };
  return kStrategies;
}

Placement place_experts(const PlacementConfig& config, const PlacementProblem& problem, const Place& place) {
  std::vector<std::string_view> names;
  for (const StrategyEntry& entry : placement_strategies()) {
    if (entry.name == config.strategy) {
      if (problem.experts % problem.ranks != 0) {
        throw ConfigError(
            place, fmt::format("expected a number of ranks that divides the {} experts of a layer, found {} ranks; "
                               "the strategy {} gives every rank equally many",
                               problem.experts, problem.ranks, config.strategy));
      }
      return entry.make()->place(problem);
    }
    names.push_back(entry.name);
  }
  throw ConfigError({place.file, place.pointer + "/strategy"},
                    fmt::format("expected a placement strategy, found \"{}\"{}", config.strategy,
                                suggestion(config.strategy, names)));
}

std::vector<double> rank_loads(const LayerPlacement& placement, std::span<const double> expert_loads) {
  std::vector<double> loads(placement.ranks(), 0.0);
  for (std::size_t e = 0; e < placement.experts(); ++e) {
    const auto replicas = placement.replicas_of(e);
    for (const auto& replica : replicas) {
      loads[replica.rank.index()] += expert_loads[e] / static_cast<double>(replicas.size());
    }
  }
  return loads;
}

double load_imbalance(std::span<const double> loads) {
  const double sum = std::accumulate(loads.begin(), loads.end(), 0.0);
  return sum > 0.0 ? *std::max_element(loads.begin(), loads.end()) * static_cast<double>(loads.size()) / sum : 1.0;
}

}  // namespace moesim
