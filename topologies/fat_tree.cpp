#include <fmt/format.h>

#include "sim/core/quantity.hpp"
#include "topologies/build.hpp"

namespace moesim {

void resolve_fabric(FatTree& fabric, const ClusterConfig& config, FaultList& faults) {
  constexpr std::string_view kAt = "/network/fabric/fat_tree/";
  check_rails(kAt, fabric.rails, config, faults);
  check_latencies(kAt, "same_pod_latency", fabric.same_pod_latency, "same_leaf_latency", fabric.same_leaf_latency,
                  faults);
  check_latencies(kAt, "other_pod_latency", fabric.other_pod_latency, "same_pod_latency", fabric.same_pod_latency,
                  faults);
}

void add_fabric(ClusterGraph& graph, const ClusterConfig& config, const Nic& nic, const FatTree& fabric) {
  const Duration edge_latency = fabric.same_leaf_latency / 4.0;
  const Duration spine_latency = (fabric.same_pod_latency - fabric.same_leaf_latency) / 2.0;
  const Duration core_latency = (fabric.other_pod_latency - fabric.same_pod_latency) / 2.0;
  const NicRows nics(graph, config, nic, edge_latency);
  const std::size_t blocks = (*config.nodes - 1) / fabric.nodes_per_leaf + 1;
  const std::size_t pods = (blocks - 1) / fabric.blocks_per_pod + 1;

  std::vector<Downlinks> leaves;
  for (std::size_t i = 0; i < blocks * fabric.rails; ++i) {
    leaves.push_back({graph.add({VertexKind::kLeaf, fmt::format("leaf{}", i), std::nullopt}), Bandwidth{}});
  }
  for (std::size_t node = 0; node < *config.nodes; ++node) {
    for (std::size_t i = 0; i < nics.per_node(); ++i) {
      Downlinks& leaf = leaves[node / fabric.nodes_per_leaf * fabric.rails + i % fabric.rails];
      graph.connect(nics.at(node, i), leaf.vertex, nics.bandwidth(), edge_latency, LinkKind::kNetwork);
      leaf.sum += nics.bandwidth();
    }
  }
  if (leaves.size() == 1) {
    return;
  }
  const std::size_t per_pod = fabric.spines_per_pod;
  std::vector<Downlinks> spines;
  for (std::size_t pod = 0; pod < pods; ++pod) {
    for (std::size_t s = 0; s < per_pod; ++s) {
      spines.push_back(
          {graph.add({VertexKind::kSpine, fmt::format("pod{}/spine{}", pod, s), std::nullopt}), Bandwidth{}});
    }
  }
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    const Bandwidth up = leaves[i].sum / (fabric.leaf_oversubscription * static_cast<double>(per_pod));
    const std::size_t pod = i / (fabric.blocks_per_pod * fabric.rails);
    for (std::size_t s = 0; s < per_pod; ++s) {
      Downlinks& spine = spines[pod * per_pod + s];
      graph.connect(leaves[i].vertex, spine.vertex, up, spine_latency, LinkKind::kNetwork);
      spine.sum += up;
    }
  }
  if (pods == 1) {
    return;
  }
  const std::size_t first_core = graph.vertices.size();
  for (std::size_t c = 0; c < per_pod * fabric.cores_per_spine; ++c) {
    graph.add({VertexKind::kCore, fmt::format("core{}", c), std::nullopt});
  }
  for (std::size_t i = 0; i < spines.size(); ++i) {
    const Bandwidth up = spines[i].sum / (fabric.spine_oversubscription * static_cast<double>(fabric.cores_per_spine));
    for (std::size_t k = 0; k < fabric.cores_per_spine; ++k) {
      graph.connect(spines[i].vertex, VertexId(first_core + i % per_pod * fabric.cores_per_spine + k), up, core_latency,
                    LinkKind::kNetwork);
    }
  }
}

}  // namespace moesim
