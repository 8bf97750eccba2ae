#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <variant>

#include "sim/config/describe.hpp"
#include "sim/core/quantity.hpp"

namespace moesim {

/// Rail-optimised leaf–spine: NIC i of every node hangs on leaf i, so that GPUs with the same index meet at one leaf;
/// the rest goes over the spine. Without a number of spines, every leaf has one link to a single logical spine that
/// carries what all its uplinks carry together: exact where traffic is spread evenly over the uplinks (packet spraying,
/// adaptive routing of InfiniBand), optimistic where flows are hashed onto them (ECMP).
///
/// Default latencies: Zhao et al., ISCA 2025, InfiniBand, same and other leaf.
struct RailLeafSpine {
  static constexpr std::string_view kTag = "rail_leaf_spine";

  std::optional<std::size_t> rails;
  std::optional<std::size_t> nodes_per_leaf;
  double oversubscription = 1.0;
  Duration same_leaf_latency = seconds(2.8e-6);
  Duration other_leaf_latency = seconds(3.7e-6);
  std::optional<std::size_t> spines;

  static constexpr std::string_view kDoc = "Leaves by rail under spines";
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
    f.optional("spines", &RailLeafSpine::spines,
               "Spine switches, each with a link to every leaf; absent: one logical spine that stands for all",
               Rules::between(1, 4096));
  }
};

/// A leaf for each rail and nothing above: NICs of different rails cannot reach each other through switches, traffic
/// between them is forwarded over NVLink. Wang et al., "Rail-only: A Low-Cost High-Performance Network for Training
/// LLMs with Trillion Parameters", arXiv 2307.12169 (2023), section 3.
struct RailOnly {
  static constexpr std::string_view kTag = "rail_only";

  std::optional<std::size_t> rails;
  Duration same_leaf_latency = seconds(2.8e-6);

  static constexpr std::string_view kDoc = "Leaves by rail, no spine";
  template <class F>
  static void describe(F& f) {
    f.optional("rails", &RailOnly::rails, "NIC i hangs on leaf i modulo this; absent: one for each NIC of a node",
               Rules::at_least(1));
    f.optional("same_leaf_latency", &RailOnly::same_leaf_latency,
               "GPU to GPU under one leaf, end to end as software sees it");
  }
};

/// Three levels: leaves under the spines of a pod, pods under cores. Spine s of every pod hangs on the cores of plane s
/// (Al-Fares, Loukissas, Vahdat, SIGCOMM 2008).
struct FatTree {
  static constexpr std::string_view kTag = "fat_tree";

  std::size_t rails = 1;
  std::size_t nodes_per_leaf = 1;
  std::size_t blocks_per_pod = 1;
  std::size_t spines_per_pod = 1;
  std::size_t cores_per_spine = 1;
  double leaf_oversubscription = 1.0;
  double spine_oversubscription = 1.0;
  Duration same_leaf_latency = seconds(2.8e-6);
  Duration same_pod_latency = seconds(3.7e-6);
  Duration other_pod_latency = seconds(4.6e-6);

  static constexpr std::string_view kDoc = "Three levels: leaves, spines of a pod, cores";
  template <class F>
  static void describe(F& f) {
    f.optional("rails", &FatTree::rails, "NIC i hangs on leaf i modulo this; 1: all NICs of a node share a leaf",
               Rules::at_least(1));
    f.required("nodes_per_leaf", &FatTree::nodes_per_leaf, "Nodes whose NICs share a leaf (a block of `rails` leaves)",
               Rules::at_least(1));
    f.required("blocks_per_pod", &FatTree::blocks_per_pod, "Blocks of leaves under the same spines",
               Rules::at_least(1));
    f.required("spines_per_pod", &FatTree::spines_per_pod, "Each with a link to every leaf of the pod",
               Rules::between(1, 4096));
    f.required("cores_per_spine", &FatTree::cores_per_spine, "Cores that spine s of every pod has a link to",
               Rules::between(1, 4096));
    f.optional("leaf_oversubscription", &FatTree::leaf_oversubscription,
               "What a leaf carries downwards over what it carries upwards", Rules::between(1, 1e6));
    f.optional("spine_oversubscription", &FatTree::spine_oversubscription,
               "What a spine carries downwards over what it carries upwards", Rules::between(1, 1e6));
    f.optional("same_leaf_latency", &FatTree::same_leaf_latency, "GPU to GPU, end to end as software sees it");
    f.optional("same_pod_latency", &FatTree::same_pod_latency, "Likewise over a spine; not less");
    f.optional("other_pod_latency", &FatTree::other_pod_latency, "Likewise over a core; not less");
  }
};

/// Alibaba HPN: each NIC has a port on every plane, planes never meet, and a segment has a top-of-rack switch for each
/// rail and plane. Qian et al., "Alibaba HPN: A Data Center Network for Large Language Model Training", SIGCOMM 2024.
///
/// Every port is a vertex with its part of the GPU's host link: exact where a GPU's traffic is spread evenly over the
/// planes, and never a limit where the host link is as wide as the NIC.
struct DualPlane {
  static constexpr std::string_view kTag = "dual_plane";

  std::size_t planes = 2;
  std::optional<std::size_t> rails;
  std::optional<std::size_t> nodes_per_segment;
  std::size_t spines_per_plane = 1;
  double oversubscription = 1.0;
  Duration same_leaf_latency = seconds(2.8e-6);
  Duration other_leaf_latency = seconds(3.7e-6);

  static constexpr std::string_view kDoc = "Planes of rail-optimised leaf–spine, a port of each NIC on each";
  template <class F>
  static void describe(F& f) {
    f.optional("planes", &DualPlane::planes, "Ports of a NIC", Rules::between(1, 16));
    f.optional("rails", &DualPlane::rails, "NIC i hangs on leaf i modulo this; absent: one for each NIC of a node",
               Rules::at_least(1));
    f.optional("nodes_per_segment", &DualPlane::nodes_per_segment, "Nodes that share a set of leaves; absent: all",
               Rules::at_least(1));
    f.optional("spines_per_plane", &DualPlane::spines_per_plane,
               "Aggregation switches of a plane, each with a link to every leaf of the plane", Rules::between(1, 4096));
    f.optional("oversubscription", &DualPlane::oversubscription,
               "What the ports on a leaf carry together over what its uplinks carry", Rules::between(1, 1e6));
    f.optional("same_leaf_latency", &DualPlane::same_leaf_latency,
               "GPU to GPU under one leaf, end to end as software sees it");
    f.optional("other_leaf_latency", &DualPlane::other_leaf_latency,
               "GPU to GPU over a spine, end to end as software sees it; not less than same_leaf_latency");
  }
};

/// Groups of routers, all-to-all inside a group and all-to-all between groups. Kim, Dally, Scott, Abts, "Technology-
/// Driven, Highly-Scalable Dragonfly Topology", ISCA 2008, section 3: p terminals, a routers a group, h global links a
/// router, at most a·h + 1 groups; balanced at a = 2p = 2h. Global port k of group i (of router k / h) leads to group
/// i + 1 + k modulo (groups − 1). Routes are minimal: over one global link at most (each weighs more than two local
/// ones).
struct Dragonfly {
  static constexpr std::string_view kTag = "dragonfly";

  std::size_t nics_per_router = 1;
  std::size_t routers_per_group = 1;
  std::size_t global_links_per_router = 1;
  std::optional<std::size_t> groups;
  std::optional<Bandwidth> local_bandwidth;
  std::optional<Bandwidth> global_bandwidth;
  Duration same_router_latency = seconds(2.8e-6);
  Duration local_latency = seconds(0.45e-6);
  Duration global_latency = seconds(0.45e-6);

  static constexpr std::string_view kDoc = "Groups of routers with all-to-all links inside and between groups";
  template <class F>
  static void describe(F& f) {
    f.required("nics_per_router", &Dragonfly::nics_per_router, "p", Rules::between(1, 65536));
    f.required("routers_per_group", &Dragonfly::routers_per_group, "a", Rules::between(1, 4096));
    f.required("global_links_per_router", &Dragonfly::global_links_per_router, "h", Rules::between(1, 4096));
    f.optional("groups", &Dragonfly::groups, "g; absent: as many as the NICs need", Rules::between(1, 65536));
    f.optional("local_bandwidth", &Dragonfly::local_bandwidth,
               "Between two routers of a group, each direction; absent: a NIC's", Rules::above_zero());
    f.optional("global_bandwidth", &Dragonfly::global_bandwidth,
               "Of a link between groups, each direction; absent: a NIC's", Rules::above_zero());
    f.optional("same_router_latency", &Dragonfly::same_router_latency,
               "GPU to GPU under one router, end to end as software sees it");
    f.optional("local_latency", &Dragonfly::local_latency, "What a link inside a group adds");
    f.optional("global_latency", &Dragonfly::global_latency, "What a link between groups adds");
  }
};

using Fabric = std::variant<RailLeafSpine, RailOnly, FatTree, DualPlane, Dragonfly>;

}  // namespace moesim
