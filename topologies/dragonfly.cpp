#include <fmt/format.h>

#include "sim/core/quantity.hpp"
#include "topologies/build.hpp"

namespace moesim {

namespace {

/// A way over two global links has to be longer than local–global–local, which is minimal in Kim et al.'s sense.
constexpr std::uint32_t kGlobalWeight = 3;

}  // namespace

void resolve_fabric(Dragonfly& fabric, const ClusterConfig& config, FaultList& faults) {
  constexpr std::string_view kAt = "/network/fabric/dragonfly";
  const std::size_t nics = *config.nodes * nic_vertices(config);
  const std::size_t per_group = fabric.nics_per_router * fabric.routers_per_group;
  const std::size_t ports = fabric.routers_per_group * fabric.global_links_per_router;
  if (per_group == 0 || ports == 0) {
    faults.add(kAt, "expected numbers above 0");
    return;
  }
  fabric.groups = fabric.groups.value_or((nics - 1) / per_group + 1);
  if (*fabric.groups > ports + 1) {
    faults.add(kAt, fmt::format("expected at most {} groups ({} routers × {} global links + 1), found {}", ports + 1,
                                fabric.routers_per_group, fabric.global_links_per_router, *fabric.groups));
  }
  if (*fabric.groups * per_group < nics) {
    faults.add(
        kAt, fmt::format("expected places for {} NICs, found {} ({} groups × {} routers × {} NICs)", nics,
                         *fabric.groups * per_group, *fabric.groups, fabric.routers_per_group, fabric.nics_per_router));
  }
}

void add_fabric(ClusterGraph& graph, const ClusterConfig& config, const Nic& nic, const Dragonfly& fabric) {
  const Duration edge_latency = fabric.same_router_latency / 4.0;
  const NicRows nics(graph, config, nic, edge_latency);
  const Bandwidth local = fabric.local_bandwidth.value_or(nics.bandwidth());
  const Bandwidth global = fabric.global_bandwidth.value_or(nics.bandwidth());
  const std::size_t groups = *fabric.groups;
  const std::size_t routers = fabric.routers_per_group;
  const std::size_t first = graph.vertices.size();
  for (std::size_t i = 0; i < groups * routers; ++i) {
    graph.add({VertexKind::kRouter, fmt::format("group{}/router{}", i / routers, i % routers), std::nullopt});
  }
  for (std::size_t node = 0; node < *config.nodes; ++node) {
    for (std::size_t i = 0; i < nics.per_node(); ++i) {
      const std::size_t router = (node * nics.per_node() + i) / fabric.nics_per_router;
      graph.connect(nics.at(node, i), VertexId(first + router), nics.bandwidth(), edge_latency, LinkKind::kNetwork);
    }
  }
  for (std::size_t group = 0; group < groups; ++group) {
    for (std::size_t a = 0; a < routers; ++a) {
      for (std::size_t b = a + 1; b < routers; ++b) {
        graph.connect(VertexId(first + group * routers + a), VertexId(first + group * routers + b), local,
                      fabric.local_latency, LinkKind::kNetwork);
      }
    }
  }
  // Port round·(g−1) + d−1 of group i leads to group i + d; the other end is port round·(g−1) + (g−d)−1 there. Ports
  // that do not make a full round stay free.
  const std::size_t rounds = groups > 1 ? routers * fabric.global_links_per_router / (groups - 1) : 0;
  const auto owner = [&](std::size_t group, std::size_t port) {
    return VertexId(first + group * routers + port / fabric.global_links_per_router);
  };
  for (std::size_t round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < groups; ++i) {
      for (std::size_t j = i + 1; j < groups; ++j) {
        const std::size_t there = round * (groups - 1) + (j - i) - 1;
        const std::size_t back = round * (groups - 1) + (groups - (j - i)) - 1;
        graph.connect(owner(i, there), owner(j, back), global, fabric.global_latency, LinkKind::kNetwork,
                      kGlobalWeight);
      }
    }
  }
}

}  // namespace moesim
