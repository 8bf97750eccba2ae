#pragma once

#include <string>
#include <vector>

#include "topologies/cluster_config.hpp"
#include "topologies/fault_list.hpp"
#include "topologies/graph.hpp"

namespace moesim {

/// Takes dead links (and all links of dead vertices) out of a graph and narrows slow ones. Vertices stay, so that GPU r
/// is vertex r. Returns which vertices are dead; unknown names are noted.
std::vector<bool> apply_faults(ClusterGraph& graph, const std::vector<Fault>& faults, FaultList& list);

/// The GPUs that no GPU of the first's part has a link to, directly or over others: two lists of names, "a, b, …" (the
/// first few of each part); empty where all live GPUs hang together.
std::string separate_parts(const ClusterGraph& graph, const std::vector<bool>& dead);

}  // namespace moesim
