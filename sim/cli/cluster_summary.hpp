#pragma once

#include <string>

#include "topologies/cluster.hpp"

namespace moesim {

/// A cluster in a dozen lines: what there is, what it carries, how traffic is routed and how long a byte takes.
std::string cluster_summary_text(const Cluster& cluster);

}  // namespace moesim
