#pragma once

#include "sim/program/collective.hpp"

/// The algorithms that collective.cpp lists, each in a file of its own.
namespace moesim {

CollectivePhases ring_all_reduce(const CollectiveGroups& groups, double bytes);
CollectivePhases ring_all_gather(const CollectiveGroups& groups, double bytes);
CollectivePhases ring_reduce_scatter(const CollectiveGroups& groups, double bytes);
CollectivePhases ring_broadcast(const CollectiveGroups& groups, double bytes);
CollectivePhases ring_send_recv(const CollectiveGroups& groups, double bytes);

CollectivePhases tree_all_reduce(const CollectiveGroups& groups, double bytes);

CollectivePhases in_switch_all_reduce(const CollectiveGroups& groups, double bytes);
CollectivePhases one_shot_all_reduce(const CollectiveGroups& groups, double bytes);
CollectivePhases two_shot_all_reduce(const CollectiveGroups& groups, double bytes);
CollectivePhases hierarchical_all_reduce(const CollectiveGroups& groups, double bytes);

CollectivePhases pairwise_all_to_all(const CollectiveGroups& groups, double bytes);
CollectivePhases two_level_all_to_all(const CollectiveGroups& groups, double bytes);
CollectivePhases rail_all_to_all(const CollectiveGroups& groups, double bytes);

/// An exchange without transfers yet.
Exchange collective_exchange(StepOperator op, ProfiledCollective profiled, const CollectiveGroups& groups);

}  // namespace moesim
