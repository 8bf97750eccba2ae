#pragma once

#include <cstddef>

#include "sim/program/dispatch.hpp"

/// The protocols of dispatch.hpp by how tokens travel, each in a file of its own.
namespace moesim {

/// An exchange of rows of tokens without transfers yet.
Exchange token_exchange(StepOperator op, const LayerTraffic& traffic, const DispatchPlan& plan);

/// dispatch_forwarded.cpp: straight to each rank, or by way of one rank per node.
Exchange forwarded_dispatch(const LayerTraffic& traffic, const DispatchPlan& plan);
Exchange forwarded_combine(const LayerTraffic& traffic, const DispatchPlan& plan);

/// dispatch_collective.cpp
CollectivePhases gathered_dispatch(const LayerTraffic& traffic, const DispatchPlan& plan);
CollectivePhases scattered_combine(const LayerTraffic& traffic, const DispatchPlan& plan);
CollectivePhases hierarchical_dispatch(const LayerTraffic& traffic, const DispatchPlan& plan);
CollectivePhases hierarchical_combine(const LayerTraffic& traffic, const DispatchPlan& plan);

/// The rank that takes tokens of `from` into `node` and hands out what comes back: same in-node index as the sender.
RankId relay_in(const Cluster& cluster, std::size_t from, std::size_t node, std::size_t ranks);

}  // namespace moesim
