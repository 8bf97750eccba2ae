#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/core/id.hpp"
#include "sim/core/quantity.hpp"

namespace moesim {

/// What stands at a vertex of a cluster. kNvSwitch is the scale-up switch of a node, whatever its vendor calls it;
/// kHostBridge is a socket's PCIe root; kRouter is a switch of a dragonfly.
enum class VertexKind { kGpu, kNvSwitch, kPcieSwitch, kHostBridge, kNic, kLeaf, kSpine, kCore, kRouter, kSwitch };

/// What a link belongs to: the fabric inside a node, the way from a GPU to its NIC, or the network between nodes.
enum class LinkKind { kScaleUp, kHost, kNetwork };

std::string_view kind_name(VertexKind kind);  ///< "gpu", "nvswitch", "pcie_switch", "host_bridge", "nic", "leaf", …
std::string_view kind_name(LinkKind kind);    ///< "scale_up", "host", "network"

/// True for what passes other devices' traffic on. GPUs begin and end routes; on the way they are only where a
/// cluster's routing says so (chips of a torus, forwarding over NVLink).
bool is_transit(VertexKind kind);

struct Vertex {
  VertexKind kind = VertexKind::kGpu;
  std::string name;            ///< "node2/gpu5", "node0/nvswitch", "node1/nic3", "leaf3", "spine"
  std::optional<NodeId> node;  ///< absent for switches between nodes
};

/// One direction of a cable or port; the other direction is a link of its own.
struct Link {
  VertexId from;
  VertexId to;
  Bandwidth capacity;
  Duration latency;  ///< its share of its routes' latency; below zero where it makes up for another link's (NicRows)
  LinkKind kind = LinkKind::kNetwork;
  std::uint32_t weight = 1;  ///< in the length of a path, which routing keeps as short as can be; above 0
};

/// A directed multigraph of devices, as two tables: VertexId and LinkId index them.
struct ClusterGraph {
  std::vector<Vertex> vertices;
  std::vector<Link> links;

  VertexId add(Vertex vertex);
  /// Two links, there and back, with the same capacity each way.
  void connect(VertexId a, VertexId b, Bandwidth capacity, Duration latency, LinkKind kind, std::uint32_t weight = 1);
};

/// A link that a route takes, and what part of the route's bytes takes it.
struct RouteHop {
  LinkId link;
  double share = 1.0;  ///< fraction of the bytes, summed over the paths that take the link; above 0, at most 1
  bool operator==(const RouteHop&) const = default;
};

/// The way from one GPU to another: one path, or several with the bytes spread over them. Every byte leaves the first
/// GPU and enters the last, so that the shares of links into a vertex on the way equal those out of it.
struct Route {
  std::vector<RouteHop> hops;  ///< each link once; in the order of travel where there is one path
  Duration latency;            ///< sum over the links of the longest path
};

}  // namespace moesim
