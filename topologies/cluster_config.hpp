#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "sim/config/catalogue.hpp"
#include "sim/config/describe.hpp"

namespace moesim {

/// How the GPUs of a node reach each other.
enum class ScaleUpKind { kNvSwitch };

template <>
struct EnumNames<ScaleUpKind> {
  static constexpr auto names =
      std::to_array<std::pair<ScaleUpKind, std::string_view>>({{ScaleUpKind::kNvSwitch, "nvswitch"}});
};

/// Default latency: Zhao et al., "Insights into DeepSeek-V3", ISCA 2025 (arXiv 2505.09343): 64 B between
/// two GPUs, measured from end to end.
struct ScaleUp {
  ScaleUpKind kind = ScaleUpKind::kNvSwitch;
  std::optional<Bandwidth> bandwidth;
  Duration latency = seconds(3.33e-6);

  static constexpr std::string_view kDoc = "The fabric inside a node";
  template <class F>
  static void describe(F& f) {
    f.optional("kind", &ScaleUp::kind, "nvswitch: all GPUs of a node on one non-blocking switch");
    f.optional("bandwidth", &ScaleUp::bandwidth,
               "Of one GPU, each direction; absent: what the accelerator's links carry", Rules::above_zero());
    f.optional("latency", &ScaleUp::latency,
               "GPU to GPU, end to end as software sees it; the two links on the way take half each");
  }
};

/// Rail-optimised leaf–spine: NIC i of every node hangs on leaf i, so that GPUs with the same index meet at one leaf;
/// the rest goes over the spine. Every leaf has one link to a single logical spine that carries what all its uplinks
/// carry together: exact where traffic is spread evenly over the uplinks (packet spraying, adaptive routing of
/// InfiniBand), optimistic where flows are hashed onto them (ECMP).
///
/// Default latencies: Zhao et al., ISCA 2025, InfiniBand, same and other leaf.
struct RailLeafSpine {
  static constexpr std::string_view kTag = "rail_leaf_spine";

  std::optional<std::size_t> rails;
  std::optional<std::size_t> nodes_per_leaf;
  double oversubscription = 1.0;
  Duration same_leaf_latency = seconds(2.8e-6);
  Duration other_leaf_latency = seconds(3.7e-6);

  static constexpr std::string_view kDoc = "Leaves by rail under a logical spine";
  template <class F>
  static void describe(F& f) {
    f.optional("rails", &RailLeafSpine::rails,
               "Leaves side by side; NIC i hangs on leaf i modulo this; absent: one for each NIC of a node; "
               "1: all NICs share a leaf",
               Rules::at_least(1));
    f.optional("nodes_per_leaf", &RailLeafSpine::nodes_per_leaf,
               "Nodes whose NICs share a set of leaves; absent: all nodes", Rules::at_least(1));
    f.optional("oversubscription", &RailLeafSpine::oversubscription,
               "What the NICs on a leaf carry together over what its uplinks carry; 1 is non-blocking",
               Rules::between(1, 1e6));
    f.optional("same_leaf_latency", &RailLeafSpine::same_leaf_latency,
               "GPU to GPU under one leaf, end to end as software sees it");
    f.optional("other_leaf_latency", &RailLeafSpine::other_leaf_latency,
               "GPU to GPU over the spine, end to end as software sees it; not less than same_leaf_latency");
  }
};

using Fabric = std::variant<RailLeafSpine>;

/// What connects nodes.
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

/// The same with a number of nodes: {"catalogue": {"name": "hgx-h200", "nodes": 4}}.
struct CatalogueCluster {
  static constexpr std::string_view kTag = "catalogue";
  std::string name;
  std::optional<std::size_t> nodes;

  template <class F>
  static void describe(F& f) {
    f.required("name", &CatalogueCluster::name, "A name in the catalogue", Rules::not_empty());
    f.optional("nodes", &CatalogueCluster::nodes, "Absent: as many as the ranks need", Rules::at_least(1));
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
