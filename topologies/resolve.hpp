#pragma once

#include <cstddef>
#include <optional>

#include "models/hardware/hardware.hpp"
#include "sim/core/error.hpp"
#include "topologies/cluster_config.hpp"
#include "topologies/graph.hpp"

namespace moesim {

/// A configuration whose optional figures are all there and agree, with the hardware that it names.
struct ResolvedCluster {
  ClusterConfig config;
  Accelerator accelerator;
  std::optional<Nic> nic;
};

/// More GPUs than this are taken for a slip of the pen.
inline constexpr std::size_t kMaxGpus = std::size_t{1} << 20;

/// Throws ConfigError with all faults of `config`, which stands at `place`.
ResolvedCluster resolve(const ClusterConfig& config, const Place& place);

/// The graph of a resolved cluster. Vertices: all GPUs in the order of ranks, then node by node its switch, then node
/// by node its NICs, then switches level by level. A single GPU needs no scale-up switch, a single node no network, a
/// single leaf no spine: they are left out. Faults are not applied (faults.hpp).
ClusterGraph make_graph(const ResolvedCluster& cluster);

}  // namespace moesim
