#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "topologies/cluster.hpp"

namespace moesim {

/// The cluster a user names on the command line: a file, or else one that comes with the program; with the --set
/// assignments applied. Where it says no number of nodes, it has as many as `ranks` need. Throws ConfigError; an
/// unknown name gets a suggestion.
Cluster read_cluster_argument(const std::string& argument, const std::vector<std::string>& assignments,
                              std::size_t ranks);

/// How many GPUs the named cluster has; one node's where it says no number of nodes.
std::size_t all_gpus(const std::string& argument, const std::vector<std::string>& assignments);

}  // namespace moesim
