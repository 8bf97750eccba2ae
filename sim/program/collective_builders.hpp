#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

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

CollectivePhases torus_all_reduce(const CollectiveGroups& groups, double bytes);
CollectivePhases torus_reduce_scatter(const CollectiveGroups& groups, double bytes);
CollectivePhases torus_all_gather(const CollectiveGroups& groups, double bytes);
CollectivePhases torus_all_to_all(const CollectiveGroups& groups, double bytes);
CollectivePhases torus_broadcast(const CollectiveGroups& groups, double bytes);

CollectivePhases pairwise_all_to_all(const CollectiveGroups& groups, double bytes);
CollectivePhases two_level_all_to_all(const CollectiveGroups& groups, double bytes);
CollectivePhases rail_all_to_all(const CollectiveGroups& groups, double bytes);

/// Rings and trees run in several channels side by side where a group spans nodes, one for each of its GPUs in a node,
/// so that every NIC has one to carry (NVIDIA/nccl src/graph/search.cc); inside a node one stands for all.
std::size_t channel_count(const CollectiveGroups& groups);

/// A hop of the rings that run side by side, and the share of the data that goes round its ring.
struct RingHop {
  RankId from;
  RankId to;
  double share = 1.0;
};
/// All hops of all rings of the group that starts at `first`.
std::vector<RingHop> ring_hops(const CollectiveGroups& groups, std::size_t first);

/// An exchange without transfers yet.
Exchange collective_exchange(StepOperator op, ProfiledCollective profiled, const CollectiveGroups& groups);

/// Tells exchanges that are one collective what leaves or enters its busiest rank in all of them.
void tell_port_bytes(CollectivePhases& phases, std::size_t ranks);

}  // namespace moesim
