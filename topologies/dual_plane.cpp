#include <fmt/format.h>

#include "sim/core/quantity.hpp"
#include "topologies/build.hpp"

namespace moesim {

void resolve_fabric(DualPlane& fabric, const ClusterConfig& config, FaultList& faults) {
  constexpr std::string_view kAt = "/network/fabric/dual_plane/";
  fabric.rails = fabric.rails.value_or(nic_vertices(config));
  fabric.nodes_per_segment = fabric.nodes_per_segment.value_or(*config.nodes);
  check_rails(kAt, *fabric.rails, config, faults);
  check_latencies(kAt, "other_leaf_latency", fabric.other_leaf_latency, "same_leaf_latency", fabric.same_leaf_latency,
                  faults);
}

void add_fabric(ClusterGraph& graph, const ClusterConfig& config, const Nic& nic, const DualPlane& fabric) {
  const Duration edge_latency = fabric.same_leaf_latency / 4.0;
  const Duration trunk_latency = (fabric.other_leaf_latency - fabric.same_leaf_latency) / 2.0;
  const NicRows nics(graph, config, nic, edge_latency, fabric.planes);
  const std::size_t segments = (*config.nodes - 1) / *fabric.nodes_per_segment + 1;
  const std::size_t rails = *fabric.rails;
  for (std::size_t plane = 0; plane < fabric.planes; ++plane) {
    std::vector<Downlinks> leaves;
    for (std::size_t i = 0; i < segments * rails; ++i) {
      const VertexId leaf = graph.add({VertexKind::kLeaf, fmt::format("plane{}/leaf{}", plane, i), std::nullopt});
      leaves.push_back({leaf, Bandwidth{}});
    }
    for (std::size_t node = 0; node < *config.nodes; ++node) {
      for (std::size_t i = 0; i < nics.per_node(); ++i) {
        Downlinks& leaf = leaves[node / *fabric.nodes_per_segment * rails + i % rails];
        graph.connect(nics.at(node, i, plane), leaf.vertex, nics.bandwidth(), edge_latency, LinkKind::kNetwork);
        leaf.sum += nics.bandwidth();
      }
    }
    for (std::size_t s = 0; s < fabric.spines_per_plane && leaves.size() > 1; ++s) {
      const VertexId spine = graph.add({VertexKind::kSpine, fmt::format("plane{}/spine{}", plane, s), std::nullopt});
      for (const Downlinks& leaf : leaves) {
        graph.connect(leaf.vertex, spine,
                      leaf.sum / (fabric.oversubscription * static_cast<double>(fabric.spines_per_plane)),
                      trunk_latency, LinkKind::kNetwork);
      }
    }
  }
}

}  // namespace moesim
