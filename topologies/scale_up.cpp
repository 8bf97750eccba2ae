#include <fmt/format.h>

#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"
#include "topologies/build.hpp"
#include "topologies/torus.hpp"

namespace moesim {

namespace {

void check_torus(const ClusterConfig& config, FaultList& faults) {
  const Torus& torus = *config.scale_up.torus;
  std::size_t chips = 1;
  for (const std::size_t size : torus.shape) {
    chips = chips > kMaxGpus ? chips : chips * size;
  }
  if (chips != config.gpus_per_node) {
    faults.add("/scale_up/torus/shape", fmt::format("expected a product of gpus_per_node ({}), found {}",
                                                    config.gpus_per_node, fmt::join(torus.shape, " × ")));
  }
  if (torus.shape.size() > 8) {
    faults.add("/scale_up/torus/shape", fmt::format("expected at most 8 dimensions, found {}", torus.shape.size()));
  }
  if (torus.edges && torus.edges->size() != torus.shape.size()) {
    faults.add("/scale_up/torus/edges", fmt::format("expected {} entries, one for each dimension, found {}",
                                                    torus.shape.size(), torus.edges->size()));
  }
  if (config.network) {
    faults.add("/network", "expected no network beside a torus, found one");
  }
}

void check_pcie(ClusterConfig& config, FaultList& faults) {
  PcieTree& tree = config.scale_up.pcie ? *config.scale_up.pcie : config.scale_up.pcie.emplace();
  const std::size_t below = tree.gpus_per_switch * tree.switches_per_bridge;
  if (below == 0 || config.gpus_per_node % below != 0) {
    faults.add("/scale_up/pcie", fmt::format("expected gpus_per_switch × switches_per_bridge to divide gpus_per_node "
                                             "({}), found {} × {}",
                                             config.gpus_per_node, tree.gpus_per_switch, tree.switches_per_bridge));
  }
  tree.uplink_bandwidth = tree.uplink_bandwidth ? tree.uplink_bandwidth : config.scale_up.bandwidth;
  tree.bridge_bandwidth = tree.bridge_bandwidth ? tree.bridge_bandwidth : tree.uplink_bandwidth;
}

std::optional<Bandwidth> own_bandwidth(ScaleUpKind kind, const Accelerator& accelerator) {
  if (kind == ScaleUpKind::kPcie) {
    return accelerator.host_bandwidth;
  }
  return accelerator.scale_up_bandwidth > Bandwidth{} ? std::optional(accelerator.scale_up_bandwidth) : std::nullopt;
}

void connect_to_switch(ClusterGraph& graph, const ClusterConfig& config) {
  const Duration latency = config.scale_up.latency / 2.0;  // GPU–switch–GPU takes two such links
  for (std::size_t node = 0; node < *config.nodes; ++node) {
    const VertexId nvswitch = graph.add({VertexKind::kNvSwitch, fmt::format("node{}/nvswitch", node), NodeId(node)});
    for (std::size_t i = 0; i < config.gpus_per_node; ++i) {
      graph.connect(VertexId(node * config.gpus_per_node + i), nvswitch, *config.scale_up.bandwidth, latency,
                    LinkKind::kScaleUp);
    }
  }
}

void connect_mesh(ClusterGraph& graph, const ClusterConfig& config) {
  const std::size_t size = config.gpus_per_node;
  const Bandwidth each = *config.scale_up.bandwidth / static_cast<double>(size - 1);
  for (std::size_t node = 0; node < *config.nodes; ++node) {
    for (std::size_t a = 0; a < size; ++a) {
      for (std::size_t b = a + 1; b < size; ++b) {
        graph.connect(VertexId(node * size + a), VertexId(node * size + b), each, config.scale_up.latency,
                      LinkKind::kScaleUp);
      }
    }
  }
}

void connect_pcie(ClusterGraph& graph, const ClusterConfig& config) {
  const PcieTree& tree = *config.scale_up.pcie;
  const Duration latency = config.scale_up.latency / 2.0;
  const std::size_t switches = config.gpus_per_node / tree.gpus_per_switch;
  for (std::size_t node = 0; node < *config.nodes; ++node) {
    std::vector<VertexId> bridges;
    for (std::size_t b = 0; b < switches / tree.switches_per_bridge && switches > 1; ++b) {
      bridges.push_back(graph.add({VertexKind::kHostBridge, fmt::format("node{}/bridge{}", node, b), NodeId(node)}));
      for (std::size_t other = 0; other < b; ++other) {
        graph.connect(bridges[other], bridges[b], *tree.bridge_bandwidth, latency, LinkKind::kScaleUp);
      }
    }
    for (std::size_t s = 0; s < switches; ++s) {
      const VertexId pcie = graph.add({VertexKind::kPcieSwitch, fmt::format("node{}/pcie{}", node, s), NodeId(node)});
      if (!bridges.empty()) {
        graph.connect(pcie, bridges[s / tree.switches_per_bridge], *tree.uplink_bandwidth, latency, LinkKind::kScaleUp);
      }
      for (std::size_t i = 0; i < tree.gpus_per_switch; ++i) {
        graph.connect(VertexId(node * config.gpus_per_node + s * tree.gpus_per_switch + i), pcie,
                      *config.scale_up.bandwidth, latency, LinkKind::kScaleUp);
      }
    }
  }
}

void connect_torus(ClusterGraph& graph, const ClusterConfig& config) {
  const Torus& torus = *config.scale_up.torus;
  const Bandwidth each = *config.scale_up.bandwidth / (2.0 * static_cast<double>(torus.shape.size()));
  for (std::size_t d = 0; d < torus.shape.size(); ++d) {
    for (std::size_t v = 0; v < config.gpus_per_node; ++v) {
      const auto next = torus_neighbour(torus, v, d, 0);
      if (next && (torus.shape[d] > 2 || *next > v)) {  // in a ring of two, one cable
        graph.connect(VertexId(v), VertexId(*next), each, config.scale_up.latency, LinkKind::kScaleUp);
      }
    }
  }
}

}  // namespace

void resolve_scale_up(ClusterConfig& config, const Accelerator& accelerator, FaultList& faults) {
  ScaleUp& scale_up = config.scale_up;
  if (scale_up.kind == ScaleUpKind::kTorus) {
    if (!scale_up.torus) {
      faults.add("/scale_up/torus", "expected the shape of the torus, found none");
      return;
    }
    check_torus(config, faults);
  }
  if (scale_up.torus && scale_up.kind != ScaleUpKind::kTorus) {
    faults.add("/scale_up/torus", fmt::format("expected the kind torus, found {}", name_of(scale_up.kind)));
  }
  if (scale_up.pcie && scale_up.kind != ScaleUpKind::kPcie) {
    faults.add("/scale_up/pcie", fmt::format("expected the kind pcie, found {}", name_of(scale_up.kind)));
  }
  if (config.gpus_per_node < 2) {
    return;
  }
  if (!scale_up.bandwidth) {
    scale_up.bandwidth = own_bandwidth(scale_up.kind, accelerator);
  }
  if (!scale_up.bandwidth) {
    faults.add("/scale_up/bandwidth",
               fmt::format("expected a bandwidth, as {} has no {} of its own, found none", accelerator.name,
                           scale_up.kind == ScaleUpKind::kPcie ? "PCIe figure" : "scale-up links"));
    return;
  }
  if (scale_up.kind == ScaleUpKind::kPcie) {
    check_pcie(config, faults);
  }
}

VertexId pcie_switch_of(const ClusterGraph& graph, const ClusterConfig& config, VertexId gpu) {
  const std::size_t switches = config.gpus_per_node / config.scale_up.pcie->gpus_per_switch;
  const std::size_t bridges = switches > 1 ? switches / config.scale_up.pcie->switches_per_bridge : 0;
  const std::size_t node = gpu.index() / config.gpus_per_node;
  const VertexId found(*config.nodes * config.gpus_per_node + node * (bridges + switches) + bridges +
                       gpu.index() % config.gpus_per_node / config.scale_up.pcie->gpus_per_switch);
  ensure(graph.vertices.at(found.index()).kind == VertexKind::kPcieSwitch, "a PCIe switch stands where it was put");
  return found;
}

void add_scale_up(ClusterGraph& graph, const ClusterConfig& config) {
  if (config.gpus_per_node < 2) {
    return;
  }
  switch (config.scale_up.kind) {
    case ScaleUpKind::kNvSwitch:
      return connect_to_switch(graph, config);
    case ScaleUpKind::kMesh:
      return connect_mesh(graph, config);
    case ScaleUpKind::kPcie:
      return connect_pcie(graph, config);
    case ScaleUpKind::kTorus:
      return connect_torus(graph, config);
  }
}

}  // namespace moesim
