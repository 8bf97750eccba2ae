#include "topologies/orbits.hpp"

#include <algorithm>
#include <optional>
#include <tuple>
#include <variant>
#include <vector>

#include "sim/core/error.hpp"
#include "topologies/build.hpp"
#include "topologies/cluster.hpp"

namespace moesim {

namespace {

/// What tells the orbits of a symmetric cluster apart: the kinds of a link's ends, and in a torus its dimension and
/// direction (a translation changes neither).
using Key = std::tuple<bool, VertexKind, VertexKind, std::size_t, std::size_t>;

/// Whether permuting whole blocks of leaves, nodes of a block and NICs of a node (all nodes alike) reaches every GPU:
/// where every leaf has as many NICs, and every level is filled.
bool is_symmetric(const RailLeafSpine& fabric, const ClusterConfig& config) {
  return *config.nodes % std::min(*fabric.nodes_per_leaf, *config.nodes) == 0 &&
         nic_vertices(config) % *fabric.rails == 0;
}
bool is_symmetric(const RailOnly& fabric, const ClusterConfig& config) {
  return nic_vertices(config) % *fabric.rails == 0;
}
bool is_symmetric(const FatTree& fabric, const ClusterConfig& config) {
  const std::size_t nodes = *config.nodes;
  const std::size_t block = std::min(fabric.nodes_per_leaf, nodes);
  const std::size_t blocks = nodes / block;
  return nodes % block == 0 && blocks % std::min(fabric.blocks_per_pod, blocks) == 0 &&
         nic_vertices(config) % fabric.rails == 0;
}
bool is_symmetric(const DualPlane& fabric, const ClusterConfig& config) {
  return *config.nodes % std::min(*fabric.nodes_per_segment, *config.nodes) == 0 &&
         nic_vertices(config) % *fabric.rails == 0;
}
/// Routers of a group differ by the groups that their global links lead to.
bool is_symmetric(const Dragonfly&, const ClusterConfig&) { return false; }

bool is_symmetric(const ClusterConfig& config, std::size_t ranks) {
  const std::size_t gpus = *config.nodes * config.gpus_per_node;
  const ScaleUpKind kind = config.scale_up.kind;
  if (config.graph || !config.faults.empty()) {
    return false;
  }
  if (ranks != gpus) {
    // Of one node any part is as good as another, where all GPUs are linked alike.
    return ranks <= config.gpus_per_node && (kind == ScaleUpKind::kNvSwitch || kind == ScaleUpKind::kMesh);
  }
  if (kind == ScaleUpKind::kTorus) {
    const auto edges = config.scale_up.torus->edges;
    return config.routing.paths == PathChoice::kDimensionOrder &&
           (!edges || std::count(edges->begin(), edges->end(), TorusEdge::kOpen) == 0);
  }
  if (*config.nodes == 1) {
    return true;
  }
  // Shared NICs under PCIe are linked to a switch, not to their GPUs: every PCIe switch then needs as many.
  if (kind == ScaleUpKind::kPcie &&
      nic_vertices(config) % (config.gpus_per_node / config.scale_up.pcie->gpus_per_switch) != 0) {
    return false;
  }
  return config.routing.paths == PathChoice::kEcmpSpray &&
         std::visit([&](const auto& fabric) { return is_symmetric(fabric, config); }, config.network->fabric);
}

/// Dimension and direction of a link of a torus.
std::pair<std::size_t, std::size_t> torus_key(const Torus& torus, const Link& link) {
  std::size_t stride = 1;
  for (std::size_t d = torus.shape.size(); d-- > 0; stride *= torus.shape[d]) {
    const std::size_t from = link.from.index() / stride % torus.shape[d];
    const std::size_t to = link.to.index() / stride % torus.shape[d];
    if (from != to) {
      return {d, torus.shape[d] > 2 && (from + 1) % torus.shape[d] != to ? 1 : 0};
    }
  }
  return {0, 0};
}

}  // namespace

std::optional<Orbits> Cluster::orbits(std::size_t ranks) const {
  ensure(ranks > 0 && ranks <= gpus(), "orbits: ranks of this cluster");
  if (!is_symmetric(config(), ranks)) {
    return std::nullopt;
  }
  Orbits orbits;
  orbits.of_link.reserve(links().size());
  std::vector<Key> known;  // a handful
  for (const Link& link : links()) {
    const Vertex& from = vertices()[link.from.index()];
    const Vertex& to = vertices()[link.to.index()];
    // With fewer ranks than GPUs there is one node or part of one: the links of other GPUs and nodes stand idle.
    const auto idle_end = [&](const Vertex& vertex, VertexId id) {
      return vertex.kind == VertexKind::kGpu ? id.index() >= ranks : vertex.kind != VertexKind::kNvSwitch;
    };
    const bool idle = ranks < gpus() && (idle_end(from, link.from) || idle_end(to, link.to));
    const auto [dimension, direction] = config().scale_up.kind == ScaleUpKind::kTorus
                                            ? torus_key(*config().scale_up.torus, link)
                                            : std::pair<std::size_t, std::size_t>{0, 0};
    const Key key{idle, from.kind, to.kind, dimension, direction};
    const auto found = std::find(known.begin(), known.end(), key);
    orbits.of_link.push_back(static_cast<std::uint32_t>(found - known.begin()));
    if (found == known.end()) {
      known.push_back(key);
    }
  }
  orbits.count = static_cast<std::uint32_t>(known.size());
  return orbits;
}

}  // namespace moesim
