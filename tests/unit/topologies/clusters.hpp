#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "sim/core/error.hpp"
#include "topologies/cluster.hpp"

namespace moesim::test {

/// `nodes` nodes of 8 H200 (450 GB/s scale-up, 64 GB/s PCIe) with a 400 Gb/s NIC each.
inline ClusterConfig eight_gpu_nodes(std::size_t nodes) {
  ClusterConfig config;
  config.name = "test";
  config.accelerator = "h200-sxm";
  config.gpus_per_node = 8;
  config.nodes = nodes;
  config.network = Network{"connectx-7-ndr", std::nullopt, std::nullopt, RailLeafSpine{}};
  return config;
}

inline RailLeafSpine& fabric_of(ClusterConfig& config) { return std::get<RailLeafSpine>(config.network->fabric); }

inline Cluster build(const ClusterConfig& config) { return build_cluster(config, {"cluster.json", ""}); }

inline RankId rank(std::size_t index) { return RankId(index); }

/// The route as names of the vertices passed, both ends included.
inline std::vector<std::string> hops(const Cluster& cluster, std::size_t from, std::size_t to) {
  const Route route = cluster.route(rank(from), rank(to));
  std::vector<std::string> names{cluster.vertex(cluster.link(route.hops.front().link).from).name};
  for (const RouteHop& hop : route.hops) {
    names.push_back(cluster.vertex(cluster.link(hop.link).to).name);
  }
  return names;
}

inline std::size_t count(const Cluster& cluster, VertexKind kind) {
  std::size_t total = 0;
  for (const Vertex& vertex : cluster.vertices()) {
    total += vertex.kind == kind ? 1 : 0;
  }
  return total;
}

inline std::size_t count(const Cluster& cluster, LinkKind kind) {
  std::size_t total = 0;
  for (const Link& link : cluster.links()) {
    total += link.kind == kind ? 1 : 0;
  }
  return total;
}

/// All faults, one a line; empty where `run` throws none.
template <class Run>
std::string faults_of(Run run) {
  try {
    run();
  } catch (const ConfigError& error) {
    std::string text;
    for (const Diagnostic& fault : error.diagnostics()) {
      text += fault.text() + "\n";
    }
    return text;
  }
  return "";
}

/// All faults of a cluster that cannot be built.
inline std::string faults(const ClusterConfig& config) {
  return faults_of([&] { build_cluster(config, {"cluster.json", ""}); });
}

}  // namespace moesim::test
