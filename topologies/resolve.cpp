#include "topologies/resolve.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace moesim {

namespace {

/// Collects faults of a configuration at pointers below the place where it stands.
class Faults {
 public:
  explicit Faults(const Place& place) : place_(place) {}

  [[nodiscard]] Place at(std::string_view pointer) const {
    return {place_.file, place_.pointer + std::string(pointer)};
  }
  void add(std::string_view pointer, std::string message) { all_.push_back({at(pointer), std::move(message)}); }

  /// What `look_up` returns, or its faults among ours.
  template <class LookUp>
  auto collect(LookUp look_up) -> std::optional<decltype(look_up())> {
    try {
      return look_up();
    } catch (const ConfigError& error) {
      all_.insert(all_.end(), error.diagnostics().begin(), error.diagnostics().end());
      return std::nullopt;
    }
  }
  void raise() {
    if (!all_.empty()) {
      throw ConfigError(std::move(all_));
    }
  }

 private:
  Place place_;
  std::vector<Diagnostic> all_;
};

void check_size(const ClusterConfig& config, Faults& faults) {
  const std::size_t nodes = *config.nodes;
  if (nodes == 0 || config.gpus_per_node == 0) {
    faults.add(nodes == 0 ? "/nodes" : "/gpus_per_node", "expected a number of at least 1, found the number 0");
    return;
  }
  if (nodes > kMaxGpus / config.gpus_per_node) {
    faults.add("/nodes", fmt::format("expected at most {} GPUs in all, found {} nodes × {} GPUs", kMaxGpus, nodes,
                                     config.gpus_per_node));
  }
  if (nodes > 1 && !config.network) {
    faults.add("/network", fmt::format("expected the key \"network\", which connects the {} nodes, found none", nodes));
  }
}

void resolve_scale_up(ClusterConfig& config, const Accelerator& accelerator, Faults& faults) {
  if (config.gpus_per_node < 2 || config.scale_up.bandwidth) {
    return;
  }
  if (!(accelerator.scale_up_bandwidth > Bandwidth{})) {
    faults.add(
        "/scale_up/bandwidth",
        fmt::format("expected a bandwidth, as {} has no scale-up links of its own, found none", accelerator.name));
    return;
  }
  config.scale_up.bandwidth = accelerator.scale_up_bandwidth;
}

/// NIC vertices of a node: several NICs of one GPU are one vertex.
std::size_t nic_vertices(const ClusterConfig& config) {
  return std::min(*config.network->nics_per_node, config.gpus_per_node);
}

/// NICs that one NIC vertex stands for.
std::size_t nics_per_vertex(const ClusterConfig& config) {
  return *config.network->nics_per_node / nic_vertices(config);
}

void resolve_fabric(RailLeafSpine& fabric, const ClusterConfig& config, Faults& faults) {
  const std::string at = fmt::format("/network/fabric/{}/", RailLeafSpine::kTag);
  const std::size_t nics = nic_vertices(config);
  fabric.rails = fabric.rails.value_or(nics);
  fabric.nodes_per_leaf = fabric.nodes_per_leaf.value_or(*config.nodes);
  if (*fabric.rails > nics) {
    faults.add(at + "rails",
               fmt::format("expected at most {} rails, as so many NICs of a node go separate ways, found {}", nics,
                           *fabric.rails));
  }
  if (fabric.other_leaf_latency < fabric.same_leaf_latency) {
    faults.add(at + "other_leaf_latency",
               fmt::format("expected at least same_leaf_latency ({}), found {}", to_text(fabric.same_leaf_latency),
                           to_text(fabric.other_leaf_latency)));
  }
}

void resolve_network(ClusterConfig& config, const std::optional<Accelerator>& accelerator,
                     const std::optional<Nic>& nic, Faults& faults) {
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

/// One leaf's downlinks, counted while NICs are hung on it.
struct Leaf {
  VertexId vertex;
  Bandwidth downlinks;
};

/// End-to-end latencies are published, those of single hops are not, so they are shared out: the four links that every
/// route has (GPU–NIC–leaf–NIC–GPU) take a quarter of the same-leaf figure each, and leaf–spine–leaf half of the
/// difference each. Sums over routes then equal the published figures.
void add_network(ClusterGraph& graph, const ClusterConfig& config, const Nic& nic, const RailLeafSpine& fabric) {
  const std::size_t nodes = *config.nodes;
  const std::size_t per_node = nic_vertices(config);
  const std::size_t sharing = config.gpus_per_node / per_node;  // GPUs of one NIC
  const Bandwidth nic_bandwidth = nic.bandwidth * static_cast<double>(nics_per_vertex(config));
  const Duration edge_latency = fabric.same_leaf_latency / 4.0;
  const Duration trunk_latency = (fabric.other_leaf_latency - fabric.same_leaf_latency) / 2.0;

  const std::size_t first_nic = graph.vertices.size();
  const auto nic_of = [&](std::size_t node, std::size_t index) {
    return VertexId(first_nic + node * per_node + index);
  };
  for (std::size_t node = 0; node < nodes; ++node) {
    for (std::size_t i = 0; i < per_node; ++i) {
      graph.add({VertexKind::kNic, fmt::format("node{}/nic{}", node, i), NodeId(node)});
    }
    for (std::size_t i = 0; i < config.gpus_per_node; ++i) {
      graph.connect(VertexId(node * config.gpus_per_node + i), nic_of(node, i / sharing),
                    *config.network->host_bandwidth, edge_latency, LinkKind::kHost);
    }
  }

  const std::size_t rails = *fabric.rails;
  const std::size_t blocks = (nodes - 1) / *fabric.nodes_per_leaf + 1;
  std::vector<Leaf> leaves;
  for (std::size_t i = 0; i < blocks * rails; ++i) {
    leaves.push_back({graph.add({VertexKind::kLeaf, fmt::format("leaf{}", i), std::nullopt}), Bandwidth{}});
  }
  for (std::size_t node = 0; node < nodes; ++node) {
    for (std::size_t i = 0; i < per_node; ++i) {
      Leaf& leaf = leaves[node / *fabric.nodes_per_leaf * rails + i % rails];
      graph.connect(nic_of(node, i), leaf.vertex, nic_bandwidth, edge_latency, LinkKind::kNetwork);
      leaf.downlinks += nic_bandwidth;
    }
  }
  if (leaves.size() == 1) {
    return;
  }
  const VertexId spine = graph.add({VertexKind::kSpine, "spine", std::nullopt});
  for (const Leaf& leaf : leaves) {
    graph.connect(leaf.vertex, spine, leaf.downlinks / fabric.oversubscription, trunk_latency, LinkKind::kNetwork);
  }
}

}  // namespace

ResolvedCluster resolve(const ClusterConfig& config, const Place& place) {
  Faults faults(place);
  ClusterConfig resolved = config;
  resolved.nodes = config.nodes.value_or(1);
  check_size(resolved, faults);
  faults.raise();  // the rest divides by these numbers

  auto accelerator = faults.collect([&] { return find_accelerator(config.accelerator, faults.at("/accelerator")); });
  std::optional<Nic> nic;
  if (config.network) {
    nic = faults.collect([&] { return find_nic(config.network->nic, faults.at("/network/nic")); });
    resolve_network(resolved, accelerator, nic, faults);
  }
  if (accelerator) {
    resolve_scale_up(resolved, *accelerator, faults);
  }
  faults.raise();
  return {std::move(resolved), std::move(*accelerator), std::move(nic)};
}

ClusterGraph make_graph(const ResolvedCluster& cluster) {
  const ClusterConfig& config = cluster.config;
  const std::size_t nodes = *config.nodes;
  ClusterGraph graph;
  for (std::size_t node = 0; node < nodes; ++node) {
    for (std::size_t i = 0; i < config.gpus_per_node; ++i) {
      graph.add({VertexKind::kGpu, fmt::format("node{}/gpu{}", node, i), NodeId(node)});
    }
  }
  if (config.gpus_per_node > 1) {
    const Duration latency = config.scale_up.latency / 2.0;  // GPU–switch–GPU takes two such links
    for (std::size_t node = 0; node < nodes; ++node) {
      const VertexId nvswitch = graph.add({VertexKind::kNvSwitch, fmt::format("node{}/nvswitch", node), NodeId(node)});
      for (std::size_t i = 0; i < config.gpus_per_node; ++i) {
        graph.connect(VertexId(node * config.gpus_per_node + i), nvswitch, *config.scale_up.bandwidth, latency,
                      LinkKind::kScaleUp);
      }
    }
  }
  if (nodes > 1) {
    std::visit([&](const auto& fabric) { add_network(graph, config, *cluster.nic, fabric); }, config.network->fabric);
  }
  return graph;
}

}  // namespace moesim
