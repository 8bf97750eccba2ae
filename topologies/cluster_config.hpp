#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "sim/config/catalogue.hpp"
#include "sim/config/describe.hpp"
#include "sim/core/quantity.hpp"
#include "topologies/fabric_config.hpp"
#include "topologies/graph_config.hpp"
#include "topologies/network_routing.hpp"

namespace moesim {

/// How the GPUs of a node reach each other.
enum class ScaleUpKind { kNvSwitch, kMesh, kPcie, kTorus };

template <>
struct EnumNames<ScaleUpKind> {
  static constexpr auto names =
      std::to_array<std::pair<ScaleUpKind, std::string_view>>({{ScaleUpKind::kNvSwitch, "nvswitch"},
                                                               {ScaleUpKind::kMesh, "mesh"},
                                                               {ScaleUpKind::kPcie, "pcie"},
                                                               {ScaleUpKind::kTorus, "torus"}});
};

/// GPUs under PCIe switches under the root of a socket; sockets are joined pair by pair.
struct PcieTree {
  std::size_t gpus_per_switch = 4;
  std::size_t switches_per_bridge = 1;
  std::optional<Bandwidth> uplink_bandwidth;
  std::optional<Bandwidth> bridge_bandwidth;

  static constexpr std::string_view kDoc = "GPUs under PCIe switches under host bridges";
  template <class F>
  static void describe(F& f) {
    f.optional("gpus_per_switch", &PcieTree::gpus_per_switch, "GPUs under one PCIe switch", Rules::at_least(1));
    f.optional("switches_per_bridge", &PcieTree::switches_per_bridge, "PCIe switches under one host bridge (socket)",
               Rules::at_least(1));
    f.optional("uplink_bandwidth", &PcieTree::uplink_bandwidth,
               "From a PCIe switch to its host bridge, each direction; absent: as a GPU's link", Rules::above_zero());
    f.optional("bridge_bandwidth", &PcieTree::bridge_bandwidth,
               "Between two host bridges, each direction; absent: as a PCIe switch's uplink", Rules::above_zero());
  }
};

/// Whether the first and the last in a dimension are neighbours.
enum class TorusEdge { kWrap, kOpen };

template <>
struct EnumNames<TorusEdge> {
  static constexpr auto names =
      std::to_array<std::pair<TorusEdge, std::string_view>>({{TorusEdge::kWrap, "wrap"}, {TorusEdge::kOpen, "open"}});
};

/// Chips in a grid, each linked to the next in every dimension and passing on what is not for it.
struct Torus {
  std::vector<std::size_t> shape;
  std::optional<std::vector<TorusEdge>> edges;
  std::optional<std::size_t> slice_wrap = std::nullopt;

  static constexpr std::string_view kDoc = "A torus or mesh of one dimension or more";
  template <class F>
  static void describe(F& f) {
    f.required("shape", &Torus::shape, "Chips in each dimension; the last counts fastest in the order of ranks",
               Rules{.minimum = 1, .maximum = 1048576, .min_items = 1});
    f.optional("edges", &Torus::edges, "One for each dimension; absent: wrap-around in all");
    f.optional("slice_wrap", &Torus::slice_wrap,
               "Slices of a pod wrap around in dimensions whose length is a multiple of this (optical switches between "
               "cubes); absent: in those that are as long as the pod's",
               Rules::at_least(1));
  }
};

/// Default latency: Zhao et al., "Insights into DeepSeek-V3", ISCA 2025 (arXiv 2505.09343): 64 B between
/// two GPUs, measured from end to end.
struct ScaleUp {
  ScaleUpKind kind = ScaleUpKind::kNvSwitch;
  std::optional<Bandwidth> bandwidth;
  Duration latency = seconds(3.33e-6);
  std::optional<PcieTree> pcie;
  std::optional<Torus> torus;

  static constexpr std::string_view kDoc = "The fabric inside a node";
  template <class F>
  static void describe(F& f) {
    f.optional("kind", &ScaleUp::kind,
               "nvswitch: all GPUs of a node on one non-blocking switch; mesh: a link of its own between each two; "
               "pcie: under PCIe switches; torus: in a grid");
    f.optional("bandwidth", &ScaleUp::bandwidth,
               "Of one GPU, each direction, over all its links (mesh, torus: an equal part each); absent: what the "
               "accelerator's links carry (pcie: its host_bandwidth)",
               Rules::above_zero());
    f.optional("latency", &ScaleUp::latency,
               "GPU to GPU, end to end as software sees it; nvswitch: the two links on the way take half each, as does "
               "every link under pcie; mesh, torus: of one link");
    f.optional("pcie", &ScaleUp::pcie, "Only for the kind pcie");
    f.optional("torus", &ScaleUp::torus, "Only, and always, for the kind torus");
  }
};

/// What connects the nodes.
struct Network {
  std::string nic;
  std::optional<std::size_t> nics_per_node;
  std::optional<Bandwidth> host_bandwidth;
  Fabric fabric;

  static constexpr std::string_view kDoc = "The network between nodes";
  template <class F>
  static void describe(F& f) {
    f.required("nic", &Network::nic, "Network interface, a name in the catalogue", Rules::not_empty());
    f.optional("nics_per_node", &Network::nics_per_node,
               "A divisor of gpus_per_node (neighbouring GPUs share a NIC) or a multiple (a GPU stripes its traffic "
               "evenly over its NICs, which stand in the graph as one); absent: one for each GPU",
               Rules::at_least(1));
    f.optional("host_bandwidth", &Network::host_bandwidth,
               "Between a GPU and its NICs, each direction; absent: the accelerator's host_bandwidth, and where that "
               "is absent too the NICs' own, so that it never limits",
               Rules::above_zero());
    f.required("fabric", &Network::fabric, "Switches and their links");
  }
};

/// A cluster of equal nodes, before names are looked up and defaults filled in.
struct ClusterConfig {
  std::string name;
  std::string accelerator;
  std::size_t gpus_per_node = 1;
  std::optional<std::size_t> nodes;
  ScaleUp scale_up;
  std::optional<Network> network;
  std::optional<GraphConfig> graph;
  NetworkRouting routing;
  std::vector<Fault> faults;
  std::map<std::string, std::string> sources;
  std::vector<std::string> unverified;

  static constexpr std::string_view kDoc = "A cluster of GPUs";
  template <class F>
  static void describe(F& f) {
    f.tag("schema", "moesim.cluster/1");
    f.required("name", &ClusterConfig::name, "What results call it", Rules::not_empty());
    f.required("accelerator", &ClusterConfig::accelerator, "A name in the catalogue", Rules::not_empty());
    f.required("gpus_per_node", &ClusterConfig::gpus_per_node, "GPUs that reach each other without the network",
               Rules::at_least(1));
    f.optional("nodes", &ClusterConfig::nodes, "Absent: as many as the ranks need", Rules::at_least(1));
    f.optional("scale_up", &ClusterConfig::scale_up, "The fabric inside a node");
    f.optional("network", &ClusterConfig::network, "Between nodes; absent: there is one node");
    f.optional("graph", &ClusterConfig::graph,
               "The whole cluster link by link, instead of nodes, scale_up and network");
    f.optional("routing", &ClusterConfig::routing, "Which way traffic takes");
    f.optional("faults", &ClusterConfig::faults, "What is dead or slower than it should be");
    f.optional("sources", &ClusterConfig::sources,
               "Field (\"network/nic\", \"scale_up/latency\") → source of its figure; \"*\" for all others");
    f.optional("unverified", &ClusterConfig::unverified, "Fields whose figure was not read in a source");
  }
};
extern template struct DescribedCodec<ClusterConfig>;

/// A scenario's cluster by its name in the catalogue: "hgx-h200", with as many nodes as the ranks need.
struct ClusterName {
  static constexpr std::string_view kTag = "";
  static constexpr bool kWrapper = true;
  std::string value;
};

/// The same with changes: {"catalogue": {"name": "hgx-h200", "nodes": 4}}.
struct CatalogueCluster {
  static constexpr std::string_view kTag = "catalogue";
  std::string name;
  std::optional<std::size_t> nodes;
  std::optional<std::vector<std::size_t>> shape = std::nullopt;
  std::optional<NetworkRouting> routing = std::nullopt;
  std::vector<Fault> faults = {};

  template <class F>
  static void describe(F& f) {
    f.required("name", &CatalogueCluster::name, "A name in the catalogue", Rules::not_empty());
    f.optional("nodes", &CatalogueCluster::nodes, "Absent: as many as the ranks need", Rules::at_least(1));
    f.optional("shape", &CatalogueCluster::shape, "Of a torus: a slice of this shape instead of the whole pod",
               Rules{.minimum = 1, .maximum = 1048576, .min_items = 1});
    f.optional("routing", &CatalogueCluster::routing, "Instead of the catalogue's");
    f.optional("faults", &CatalogueCluster::faults, "What is dead or slower than it should be");
  }
};

/// One's own: {"file": "mine.json"}, a moesim.cluster/1.
struct ClusterFile {
  static constexpr std::string_view kTag = "file";
  static constexpr bool kWrapper = true;
  FilePath value;
};

/// How a scenario says which cluster it runs on.
using ClusterChoice = std::variant<ClusterName, CatalogueCluster, ClusterFile>;

const Catalogue& cluster_catalogue();

}  // namespace moesim
