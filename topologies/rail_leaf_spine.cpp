#include <fmt/format.h>

#include "sim/core/quantity.hpp"
#include "topologies/build.hpp"

namespace moesim {

namespace {

/// Leaves numbered block by block, rail by rail, with every NIC on its own.
std::vector<Downlinks> add_leaves(ClusterGraph& graph, const ClusterConfig& config, const NicRows& nics,
                                  std::size_t rails, std::size_t nodes_per_leaf, Duration latency) {
  const std::size_t blocks = (*config.nodes - 1) / nodes_per_leaf + 1;
  std::vector<Downlinks> leaves;
  for (std::size_t i = 0; i < blocks * rails; ++i) {
    leaves.push_back({graph.add({VertexKind::kLeaf, fmt::format("leaf{}", i), std::nullopt}), Bandwidth{}});
  }
  for (std::size_t node = 0; node < *config.nodes; ++node) {
    for (std::size_t i = 0; i < nics.per_node(); ++i) {
      Downlinks& leaf = leaves[node / nodes_per_leaf * rails + i % rails];
      graph.connect(nics.at(node, i), leaf.vertex, nics.bandwidth(), latency, LinkKind::kNetwork);
      leaf.sum += nics.bandwidth();
    }
  }
  return leaves;
}

}  // namespace

void resolve_fabric(RailLeafSpine& fabric, const ClusterConfig& config, FaultList& faults) {
  constexpr std::string_view kAt = "/network/fabric/rail_leaf_spine/";
  fabric.rails = fabric.rails.value_or(nic_vertices(config));
  fabric.nodes_per_leaf = fabric.nodes_per_leaf.value_or(*config.nodes);
  check_rails(kAt, *fabric.rails, config, faults);
  check_latencies(kAt, "other_leaf_latency", fabric.other_leaf_latency, "same_leaf_latency", fabric.same_leaf_latency,
                  faults);
}

void add_fabric(ClusterGraph& graph, const ClusterConfig& config, const Nic& nic, const RailLeafSpine& fabric) {
  const Duration edge_latency = fabric.same_leaf_latency / 4.0;
  const NicRows nics(graph, config, nic, edge_latency);
  const auto leaves = add_leaves(graph, config, nics, *fabric.rails, *fabric.nodes_per_leaf, edge_latency);
  if (leaves.size() == 1) {
    return;
  }
  const Duration trunk_latency = (fabric.other_leaf_latency - fabric.same_leaf_latency) / 2.0;
  const std::size_t spines = fabric.spines.value_or(1);
  const std::size_t first = graph.vertices.size();
  for (std::size_t s = 0; s < spines; ++s) {
    graph.add({VertexKind::kSpine, fabric.spines ? fmt::format("spine{}", s) : "spine", std::nullopt});
  }
  for (const Downlinks& leaf : leaves) {
    for (std::size_t s = 0; s < spines; ++s) {
      graph.connect(leaf.vertex, VertexId(first + s),
                    leaf.sum / (fabric.oversubscription * static_cast<double>(spines)), trunk_latency,
                    LinkKind::kNetwork);
    }
  }
}

void resolve_fabric(RailOnly& fabric, const ClusterConfig& config, FaultList& faults) {
  fabric.rails = fabric.rails.value_or(nic_vertices(config));
  check_rails("/network/fabric/rail_only/", *fabric.rails, config, faults);
}

void add_fabric(ClusterGraph& graph, const ClusterConfig& config, const Nic& nic, const RailOnly& fabric) {
  const Duration edge_latency = fabric.same_leaf_latency / 4.0;
  const NicRows nics(graph, config, nic, edge_latency);
  add_leaves(graph, config, nics, *fabric.rails, *config.nodes, edge_latency);
}

}  // namespace moesim
