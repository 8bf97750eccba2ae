#include "topologies/graph.hpp"

#include <utility>

#include "sim/core/error.hpp"

namespace moesim {

std::string_view kind_name(VertexKind kind) {
  switch (kind) {
    case VertexKind::kGpu:
      return "gpu";
    case VertexKind::kNvSwitch:
      return "nvswitch";
    case VertexKind::kPcieSwitch:
      return "pcie_switch";
    case VertexKind::kHostBridge:
      return "host_bridge";
    case VertexKind::kNic:
      return "nic";
    case VertexKind::kLeaf:
      return "leaf";
    case VertexKind::kSpine:
      return "spine";
    case VertexKind::kCore:
      return "core";
    case VertexKind::kRouter:
      return "router";
    case VertexKind::kSwitch:
      return "switch";
  }
  throw InternalError("kind_name: not a kind of vertex");
}

std::string_view kind_name(LinkKind kind) {
  switch (kind) {
    case LinkKind::kScaleUp:
      return "scale_up";
    case LinkKind::kHost:
      return "host";
    case LinkKind::kNetwork:
      return "network";
  }
  throw InternalError("kind_name: not a kind of link");
}

bool is_transit(VertexKind kind) { return kind != VertexKind::kGpu; }

VertexId ClusterGraph::add(Vertex vertex) {
  vertices.push_back(std::move(vertex));
  return VertexId(vertices.size() - 1);
}

void ClusterGraph::connect(VertexId a, VertexId b, Bandwidth capacity, Duration latency, LinkKind kind,
                           std::uint32_t weight) {
  ensure(a != b && a.index() < vertices.size() && b.index() < vertices.size(), "connect: two vertices of this graph");
  links.push_back({a, b, capacity, latency, kind, weight});
  links.push_back({b, a, capacity, latency, kind, weight});
}

}  // namespace moesim
