#include "sim/scenario/placing.hpp"

#include <utility>

#include "sim/scenario/run.hpp"

namespace moesim {

PlacementProblem placement_problem(const Model& model, std::size_t ranks, std::size_t ranks_per_node,
                                   std::uint64_t seed) {
  const MixtureOfExperts& moe = *model.moe();
  PlacementProblem problem{.layers = model.moe_layers(),
                           .experts = static_cast<std::size_t>(moe.experts),
                           .ranks = ranks,
                           .seed = seed,
                           .ranks_per_node = ranks_per_node,
                           .groups = static_cast<std::size_t>(moe.groups)};
  problem.all_layers = model.layers().size();
  for (const Layer& layer : model.layers()) {
    if (layer.moe_index) {
      problem.model_layers.push_back(layer.index);
    }
  }
  return problem;
}

RoutingSeen look_at(RoutingSource& source, const TokenBatch& tokens, std::uint64_t seed, const TaskPool& pool) {
  RoutingSeen seen{source.draw(tokens, seed, pool), {}};
  const auto recorded = source.recorded_counts();
  seen.loads = recorded ? recorded->counts : loads_of(seen.sample);
  return seen;
}

Placement place_as(const PlacementConfig& config, PlacementProblem problem, const std::function<RoutingSeen()>& look,
                   const Place& where) {
  RoutingSeen seen;
  if (!config.file) {
    const StrategyEntry& entry = find_strategy(config.strategy, below(where, "/strategy"));
    check_slots(problem, entry.name, where);
    if (entry.needs != StrategyEntry::Needs::kNothing) {
      seen = look();
      problem.loads = seen.loads;
      problem.tokens = &seen.sample;
    }
  }
  return place_experts(config, problem, where);
}

}  // namespace moesim
