#include "topologies/resolve.hpp"

#include <fmt/format.h>

#include <variant>

#include "topologies/build.hpp"

namespace moesim {

namespace {

void check_size(const ClusterConfig& config, FaultList& faults) {
  const std::size_t nodes = *config.nodes;
  if (nodes == 0 || config.gpus_per_node == 0) {
    faults.add(nodes == 0 ? "/nodes" : "/gpus_per_node", "expected a number of at least 1, found the number 0");
    return;
  }
  if (nodes > kMaxGpus / config.gpus_per_node) {
    faults.add("/nodes", fmt::format("expected at most {} GPUs in all, found {} nodes × {} GPUs", kMaxGpus, nodes,
                                     config.gpus_per_node));
  }
  if (nodes > 1 && !config.network && !config.graph) {
    faults.add("/network", fmt::format("expected the key \"network\", which connects the {} nodes, found none", nodes));
  }
}

void resolve_network(ClusterConfig& config, const std::optional<Accelerator>& accelerator,
                     const std::optional<Nic>& nic, FaultList& faults) {
  Network& network = *config.network;
  network.nics_per_node = network.nics_per_node.value_or(config.gpus_per_node);
  const std::size_t nics = *network.nics_per_node;
  if (nics == 0 || (nics % config.gpus_per_node != 0 && config.gpus_per_node % nics != 0)) {
    faults.add("/network/nics_per_node", fmt::format("expected a divisor or a multiple of gpus_per_node ({}), found {}",
                                                     config.gpus_per_node, nics));
    return;
  }
  std::visit([&](auto& fabric) { resolve_fabric(fabric, config, faults); }, network.fabric);
  if (!network.host_bandwidth && accelerator && nic) {
    network.host_bandwidth =
        accelerator->host_bandwidth.value_or(nic->bandwidth * static_cast<double>(nics_per_vertex(config)));
  }
}

void resolve_routing(ClusterConfig& config, FaultList& faults) {
  NetworkRouting& routing = config.routing;
  const bool torus = config.scale_up.kind == ScaleUpKind::kTorus && !config.graph;
  routing.paths = routing.paths.value_or(torus ? PathChoice::kDimensionOrder : PathChoice::kEcmpSpray);
  if (routing.paths == PathChoice::kDimensionOrder && !torus) {
    faults.add("/routing/paths", "expected shortest, ecmp_hash or ecmp_spray, found dimension_order without a torus");
  }
  const bool rail_only = config.network && std::holds_alternative<RailOnly>(config.network->fabric);
  if (routing.cross_rail == CrossRail::kNetwork && rail_only) {
    faults.add("/routing/cross_rail", "expected nvlink, as rail_only has no other way between rails, found network");
  }
  const bool has_rails = config.network && !std::holds_alternative<Dragonfly>(config.network->fabric);
  if (routing.cross_rail == CrossRail::kNvlink && !has_rails) {
    faults.add("/routing/cross_rail", "expected a fabric with rails to go with nvlink, found none");
  }
  routing.cross_rail = routing.cross_rail.value_or(rail_only ? CrossRail::kNvlink : CrossRail::kNetwork);
}

}  // namespace

ResolvedCluster resolve(const ClusterConfig& config, const Place& place) {
  FaultList faults(place);
  ClusterConfig resolved = config;
  if (config.graph) {
    resolve_graph(resolved, faults);
  } else {
    resolved.nodes = config.nodes.value_or(1);
  }
  faults.raise();
  check_size(resolved, faults);
  faults.raise();  // the rest divides by these numbers

  auto accelerator = faults.collect([&] { return find_accelerator(config.accelerator, faults.at("/accelerator")); });
  std::optional<Nic> nic;
  if (config.network) {
    nic = faults.collect([&] { return find_nic(config.network->nic, faults.at("/network/nic")); });
    resolve_network(resolved, accelerator, nic, faults);
  }
  if (accelerator && !config.graph) {
    resolve_scale_up(resolved, *accelerator, faults);
  }
  resolve_routing(resolved, faults);
  faults.raise();
  return {std::move(resolved), std::move(*accelerator), std::move(nic)};
}

ClusterGraph make_graph(const ResolvedCluster& cluster) {
  const ClusterConfig& config = cluster.config;
  if (config.graph) {
    return make_custom_graph(config);
  }
  ClusterGraph graph;
  for (std::size_t node = 0; node < *config.nodes; ++node) {
    for (std::size_t i = 0; i < config.gpus_per_node; ++i) {
      graph.add({VertexKind::kGpu, fmt::format("node{}/gpu{}", node, i), NodeId(node)});
    }
  }
  add_scale_up(graph, config);
  if (*config.nodes > 1) {
    std::visit([&](const auto& fabric) { add_fabric(graph, config, *cluster.nic, fabric); }, config.network->fabric);
  }
  return graph;
}

}  // namespace moesim
