#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "sim/core/quantity.hpp"
#include "topologies/fault_list.hpp"
#include "topologies/graph.hpp"
#include "topologies/resolve.hpp"

/// The parts that clusters are built of, one file a fabric. resolve_fabric fills defaults in and notes faults,
/// add_fabric adds the vertices and links between nodes.
///
/// End-to-end latencies are published, those of single hops are not, so they are shared out: the four links that every
/// route between nodes has (GPU–NIC–leaf–NIC–GPU) take a quarter of the same-leaf figure each, and the links above the
/// leaf equal parts of what higher routes take more. Sums over routes then equal the published figures. Under PCIe the
/// link between a NIC and the GPUs' switch makes up for the GPU's own, which counts towards the scale-up figure.
namespace moesim {

/// Inside a node nothing is faster than the scale-up fabric: a way over a NIC counts as longer.
inline constexpr std::uint32_t kHostWeight = 16;

/// NIC vertices of a node: several NICs of one GPU are one vertex.
std::size_t nic_vertices(const ClusterConfig& config);
/// NICs that one NIC vertex stands for.
std::size_t nics_per_vertex(const ClusterConfig& config);
/// The rail that a GPU's NIC hangs on; std::nullopt where the fabric has no rails.
std::optional<std::size_t> rail_of(const ClusterConfig& config, std::size_t gpu_in_node);

void resolve_scale_up(ClusterConfig& config, const Accelerator& accelerator, FaultList& faults);
void add_scale_up(ClusterGraph& graph, const ClusterConfig& config);
/// Of a GPU of a node of the kind pcie.
VertexId pcie_switch_of(const ClusterGraph& graph, const ClusterConfig& config, VertexId gpu);

void resolve_fabric(RailLeafSpine& fabric, const ClusterConfig& config, FaultList& faults);
void resolve_fabric(RailOnly& fabric, const ClusterConfig& config, FaultList& faults);
void resolve_fabric(FatTree& fabric, const ClusterConfig& config, FaultList& faults);
void resolve_fabric(DualPlane& fabric, const ClusterConfig& config, FaultList& faults);
void resolve_fabric(Dragonfly& fabric, const ClusterConfig& config, FaultList& faults);

void add_fabric(ClusterGraph& graph, const ClusterConfig& config, const Nic& nic, const RailLeafSpine& fabric);
void add_fabric(ClusterGraph& graph, const ClusterConfig& config, const Nic& nic, const RailOnly& fabric);
void add_fabric(ClusterGraph& graph, const ClusterConfig& config, const Nic& nic, const FatTree& fabric);
void add_fabric(ClusterGraph& graph, const ClusterConfig& config, const Nic& nic, const DualPlane& fabric);
void add_fabric(ClusterGraph& graph, const ClusterConfig& config, const Nic& nic, const Dragonfly& fabric);

/// Fills the number of nodes in from the graph's GPUs.
void resolve_graph(ClusterConfig& config, FaultList& faults);
ClusterGraph make_custom_graph(const ClusterConfig& config);

/// The NICs of all nodes, hung on their GPUs (under PCIe: on the GPU's switch); with several ports, each port a vertex.
class NicRows {
 public:
  NicRows(ClusterGraph& graph, const ClusterConfig& config, const Nic& nic, Duration host_latency,
          std::size_t ports = 1);

  [[nodiscard]] std::size_t per_node() const { return per_node_; }
  [[nodiscard]] VertexId at(std::size_t node, std::size_t index, std::size_t port = 0) const {
    return VertexId(first_ + (node * per_node_ + index) * ports_ + port);
  }
  /// Of one port, towards the network.
  [[nodiscard]] Bandwidth bandwidth() const { return bandwidth_; }

 private:
  std::size_t first_;
  std::size_t per_node_;
  std::size_t ports_;
  Bandwidth bandwidth_;
};

/// A switch whose downlinks are counted while devices are hung on it.
struct Downlinks {
  VertexId vertex;
  Bandwidth sum;
};

/// Notes a fault where `higher` is less than `lower`.
void check_latencies(std::string_view at, std::string_view higher_name, Duration higher, std::string_view lower_name,
                     Duration lower, FaultList& faults);
/// Notes a fault for more rails than a node has NICs.
void check_rails(std::string_view at, std::size_t rails, const ClusterConfig& config, FaultList& faults);

}  // namespace moesim
