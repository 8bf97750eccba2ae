#include "sim/placement/placement.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "sim/core/error.hpp"
#include "sim/core/suggest.hpp"
#include "sim/placement/formats/expert_map.hpp"
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

std::vector<double> PlacementProblem::layer_loads(std::size_t layer) const {
  if (loads.empty()) {
    return std::vector<double>(experts, 1.0);
  }
  const auto row = loads.subspan(layer * experts, experts);
  return {row.begin(), row.end()};
}

LayerPlacement layer_of_slots(std::size_t experts, std::size_t ranks, std::span<const std::uint16_t> slots) {
  ensure(slots.size() % ranks == 0, "ranks have unequal numbers of slots");
  const std::size_t per_rank = slots.size() / ranks;
  std::vector<std::vector<std::uint16_t>> rows(ranks);
  for (std::size_t r = 0; r < ranks; ++r) {
    const auto row = slots.subspan(r * per_rank, per_rank);
    rows[r].assign(row.begin(), row.end());
  }
  return {experts, rows};
}

Placement LayerwiseStrategy::place(const PlacementProblem& problem) const {
  std::vector<std::vector<std::uint16_t>> slots(problem.layers);
  const auto one = [&](std::size_t layer) { slots[layer] = place_layer(problem, layer); };
  if (problem.pool != nullptr) {
    problem.pool->for_each_index(problem.layers, one);
  } else {
    for (std::size_t layer = 0; layer < problem.layers; ++layer) {
      one(layer);
    }
  }
  Placement placement;
  for (const auto& layer : slots) {
    placement.layers.push_back(layer_of_slots(problem.experts, problem.ranks, layer));
  }
  return placement;
}

void check_slots(const PlacementProblem& problem, std::string_view strategy, const Place& place) {
  if (problem.slots() % problem.ranks == 0) {
    return;
  }
  if (problem.redundant == 0) {
    throw ConfigError(
        place, fmt::format("expected a number of ranks that divides the {} experts of a layer, found {} ranks; "
                           "the strategy {} gives every rank equally many; {} redundant experts would fit",
                           problem.experts, problem.ranks, strategy, problem.ranks - problem.experts % problem.ranks));
  }
  const std::size_t left_over = problem.slots() % problem.ranks;
  throw ConfigError({place.file, place.pointer + "/redundant_experts"},
                    fmt::format("expected a number of slots that the {} ranks divide, found {} slots ({} experts and "
                                "{} redundant); {} redundant experts would fit",
                                problem.ranks, problem.slots(), problem.experts, problem.redundant,
                                problem.redundant + problem.ranks - left_over));
}

Placement place_experts(const PlacementConfig& config, const PlacementProblem& problem, const Place& place) {
  if (config.file) {
    return read_expert_map(config.file->resolved, problem);
  }
  const StrategyEntry& entry = find_strategy(config.strategy, {place.file, place.pointer + "/strategy"});
  check_slots(problem, config.strategy, place);
  return entry.make()->place(problem);
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
