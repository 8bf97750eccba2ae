#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "models/architecture/architecture.hpp"
#include "sim/core/error.hpp"
#include "sim/core/task_pool.hpp"
#include "sim/placement/placement.hpp"
#include "workloads/routing/source.hpp"

/// A model's experts, placed as a scenario or a training asks.
namespace moesim {

/// The experts of `model` over so many ranks, `ranks_per_node` of which share a node; without copies and loads.
PlacementProblem placement_problem(const Model& model, std::size_t ranks, std::size_t ranks_per_node,
                                   std::uint64_t seed);

/// What strategies that look at loads are shown.
struct RoutingSeen {
  StepRouting sample;
  std::vector<double> loads;  ///< [layers, experts]: of the recording where there is one, else of the sample
};
RoutingSeen look_at(RoutingSource& source, const TokenBatch& tokens, std::uint64_t seed, const TaskPool& pool);

/// `look` is asked only where the strategy wants to see. Throws ConfigError; `where` is the file's /placement.
Placement place_as(const PlacementConfig& config, PlacementProblem problem, const std::function<RoutingSeen()>& look,
                   const Place& where);

}  // namespace moesim
