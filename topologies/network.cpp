#include <fmt/format.h>

#include <algorithm>
#include <variant>

#include "sim/core/quantity.hpp"
#include "sim/core/units.hpp"
#include "topologies/build.hpp"

namespace moesim {

std::size_t nic_vertices(const ClusterConfig& config) {
  return std::min(*config.network->nics_per_node, config.gpus_per_node);
}

std::size_t nics_per_vertex(const ClusterConfig& config) {
  return *config.network->nics_per_node / nic_vertices(config);
}

std::optional<std::size_t> rail_of(const ClusterConfig& config, std::size_t gpu_in_node) {
  if (!config.network) {
    return std::nullopt;
  }
  const std::size_t nic = gpu_in_node / (config.gpus_per_node / nic_vertices(config));
  return std::visit(
      [&]<class F>(const F& fabric) -> std::optional<std::size_t> {
        if constexpr (std::is_same_v<F, Dragonfly>) {
          return std::nullopt;
        } else if constexpr (std::is_same_v<F, FatTree>) {
          return nic % fabric.rails;
        } else {
          return nic % *fabric.rails;
        }
      },
      config.network->fabric);
}

NicRows::NicRows(ClusterGraph& graph, const ClusterConfig& config, const Nic& nic, Duration host_latency,
                 std::size_t ports)
    : first_(graph.vertices.size()), per_node_(nic_vertices(config)), ports_(ports) {
  const auto parts = static_cast<double>(ports);
  bandwidth_ = nic.bandwidth * static_cast<double>(nics_per_vertex(config)) / parts;
  const std::size_t sharing = config.gpus_per_node / per_node_;
  // The figures of fabrics are from GPU to GPU. Under PCIe a GPU's way to its NIC begins with its link to the switch,
  // which has half the scale-up figure already: the NIC's link gives that back, even where less than nothing is left.
  const bool under_switch = config.scale_up.kind == ScaleUpKind::kPcie && config.gpus_per_node > 1;
  const Duration latency = under_switch ? host_latency - config.scale_up.latency / 2.0 : host_latency;
  for (std::size_t node = 0; node < *config.nodes; ++node) {
    for (std::size_t i = 0; i < per_node_; ++i) {
      for (std::size_t port = 0; port < ports; ++port) {
        graph.add(
            {VertexKind::kNic,
             ports == 1 ? fmt::format("node{}/nic{}", node, i) : fmt::format("node{}/nic{}/port{}", node, i, port),
             NodeId(node)});
      }
    }
    for (std::size_t i = 0; i < config.gpus_per_node; ++i) {
      for (std::size_t port = 0; port < ports && (!under_switch || i % sharing == 0); ++port) {
        const VertexId gpu(node * config.gpus_per_node + i);
        graph.connect(under_switch ? pcie_switch_of(graph, config, gpu) : gpu, at(node, i / sharing, port),
                      *config.network->host_bandwidth / parts, latency, LinkKind::kHost, kHostWeight);
      }
    }
  }
}

void check_latencies(std::string_view at, std::string_view higher_name, Duration higher, std::string_view lower_name,
                     Duration lower, FaultList& faults) {
  if (higher < lower) {
    faults.add(fmt::format("{}{}", at, higher_name),
               fmt::format("expected at least {} ({}), found {}", lower_name, to_text(lower), to_text(higher)));
  }
}

void check_rails(std::string_view at, std::size_t rails, const ClusterConfig& config, FaultList& faults) {
  const std::size_t nics = nic_vertices(config);
  if (rails > nics) {
    faults.add(
        fmt::format("{}rails", at),
        fmt::format("expected at most {} rails, as so many NICs of a node go separate ways, found {}", nics, rails));
  }
}

}  // namespace moesim
