#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <map>

#include "sim/core/quantity.hpp"
#include "sim/core/random.hpp"
#include "tests/unit/topologies/clusters.hpp"

using namespace moesim;
using namespace moesim::test;
using Names = std::vector<std::string>;

namespace {

Cluster of(const Fabric& fabric, std::size_t nodes, NetworkRouting routing = {}) {
  ClusterConfig config = eight_gpu_nodes(nodes);
  config.network->fabric = fabric;
  config.routing = routing;
  return build(config);
}

/// The share of a route that takes links from vertices of one kind to vertices of another.
double share(const Cluster& cluster, const Route& route, VertexKind from, VertexKind to) {
  double sum = 0.0;
  for (const RouteHop& hop : route.hops) {
    const Link& link = cluster.link(hop.link);
    sum += cluster.vertex(link.from).kind == from && cluster.vertex(link.to).kind == to ? hop.share : 0.0;
  }
  return sum;
}

/// Whether as much enters every vertex as leaves it: 1 leaves `from`, 1 enters `to`.
bool conserves(const Cluster& cluster, const Route& route, std::size_t from, std::size_t to) {
  std::map<VertexId, double> balance{{VertexId(from), 1.0}, {VertexId(to), -1.0}};
  for (const RouteHop& hop : route.hops) {
    if (!(hop.share > 0.0) || hop.share > 1.0 + 1e-12) {
      return false;
    }
    balance[cluster.link(hop.link).from] -= hop.share;
    balance[cluster.link(hop.link).to] += hop.share;
  }
  return std::all_of(balance.begin(), balance.end(), [](const auto& entry) { return std::abs(entry.second) < 1e-9; });
}

FatTree small_tree() {
  FatTree tree;
  tree.rails = 8;
  tree.nodes_per_leaf = 2;
  tree.blocks_per_pod = 2;
  tree.spines_per_pod = 4;
  tree.cores_per_spine = 2;
  return tree;
}

Dragonfly small_dragonfly() {
  Dragonfly dragonfly;
  dragonfly.nics_per_router = 2;
  dragonfly.routers_per_group = 4;
  dragonfly.global_links_per_router = 2;
  return dragonfly;
}

}  // namespace

TEST_CASE("Spraying splits evenly over real spines, hashing takes one of them", "[topologies]") {
  RailLeafSpine fabric;
  fabric.spines = 4;
  const Cluster spray = of(fabric, 4);
  const Route spread = spray.route(rank(0), rank(9));
  // GPU–NIC–leaf, four spines up and down, leaf–NIC–GPU; a quarter each.
  CHECK(spread.hops.size() == 2 + 4 + 4 + 2);
  for (const RouteHop& hop : spread.hops) {
    const bool spine = spray.vertex(spray.link(hop.link).to).kind == VertexKind::kSpine ||
                       spray.vertex(spray.link(hop.link).from).kind == VertexKind::kSpine;
    CHECK(hop.share == Approx(spine ? 0.25 : 1.0).epsilon(1e-12));
  }
  CHECK(spread.latency.base() == Approx(3.7e-6).epsilon(1e-12));

  const Cluster hash = of(fabric, 4, {.paths = PathChoice::kEcmpHash, .seed = 3, .cross_rail = std::nullopt});
  std::map<std::string, std::size_t> used;
  for (std::size_t to = 8; to < 32; ++to) {
    if (to % 8 != 0) {
      const Names way = hops(hash, 0, to);
      REQUIRE(way.size() == 7);
      CHECK(way == hops(hash, 0, to));  // a pair keeps its path
      ++used[way[3]];
    }
  }
  // 21 pairs on four spines: each by chance 5.25 times, none never (probability of missing one < 4·0.75^21 = 1 %).
  CHECK(used.size() == 4);
}

TEST_CASE("A leaf's uplinks carry together what the oversubscription leaves, on however many spines", "[topologies]") {
  RailLeafSpine fabric;
  fabric.spines = 5;
  fabric.oversubscription = 2.0;
  const Cluster cluster = of(fabric, 4);
  double up = 0.0;
  for (const Link& link : cluster.links()) {
    up += cluster.vertex(link.from).name == "leaf3" && cluster.vertex(link.to).kind == VertexKind::kSpine
              ? link.capacity.base()
              : 0.0;
  }
  CHECK(up == Approx(4 * 50e9 / 2.0).epsilon(1e-12));
}

TEST_CASE("Rail-only: other rails are reached over NVLink", "[topologies]") {
  const Cluster cluster = of(RailOnly{}, 4);
  CHECK(count(cluster, VertexKind::kSpine) == 0);
  CHECK(count(cluster, VertexKind::kLeaf) == 8);
  CHECK(hops(cluster, 3, 27) == Names{"node0/gpu3", "node0/nic3", "leaf3", "node3/nic3", "node3/gpu3"});
  CHECK(hops(cluster, 3, 12) ==
        Names{"node0/gpu3", "node0/nvswitch", "node0/gpu4", "node0/nic4", "leaf4", "node1/nic4", "node1/gpu4"});
  // NVLink 3.33 µs and one leaf 2.8 µs.
  CHECK(cluster.route(rank(3), rank(12)).latency.base() == Approx(3.33e-6 + 2.8e-6).epsilon(1e-12));
}

TEST_CASE("With PXN no traffic between nodes changes rails in the network", "[topologies]") {
  const Cluster cluster = of(RailLeafSpine{}, 4, {.paths = std::nullopt, .seed = 1, .cross_rail = CrossRail::kNvlink});
  for (std::size_t from = 0; from < 32; ++from) {
    for (std::size_t to = 0; to < 32; ++to) {
      if (from != to) {
        const Route route = cluster.route(rank(from), rank(to));
        CHECK(share(cluster, route, VertexKind::kLeaf, VertexKind::kSpine) == 0.0);
        CHECK(conserves(cluster, route, from, to));
      }
    }
  }
}

TEST_CASE("Three-level fat tree", "[topologies]") {
  const Cluster cluster = of(small_tree(), 8);
  // 4 blocks × 8 rails; 2 pods × 4 spines; 4 planes × 2 cores.
  CHECK(count(cluster, VertexKind::kLeaf) == 32);
  CHECK(count(cluster, VertexKind::kSpine) == 8);
  CHECK(count(cluster, VertexKind::kCore) == 8);
  const Route leaf = cluster.route(rank(0), rank(8));
  CHECK(leaf.hops.size() == 4);
  const Route pod = cluster.route(rank(0), rank(9));
  CHECK(pod.hops.size() == 4 + 2 * 4);
  CHECK(pod.latency.base() == Approx(3.7e-6).epsilon(1e-12));
  const Route far = cluster.route(rank(0), rank(63));
  // Up over 4 spines to 8 cores and down again.
  CHECK(far.hops.size() == 4 + 2 * 4 + 2 * 8);
  CHECK(far.latency.base() == Approx(4.6e-6).epsilon(1e-12));
  CHECK(share(cluster, far, VertexKind::kSpine, VertexKind::kCore) == Approx(1.0).epsilon(1e-12));
  CHECK(conserves(cluster, far, 0, 63));
  // Non-blocking: 32 GPUs of 50 GB/s each against the other 32.
  CHECK(cluster.bisection_bandwidth().base() == Approx(32 * 50e9).epsilon(1e-9));
}

TEST_CASE("Oversubscription at each level narrows the bisection", "[topologies]") {
  FatTree tree = small_tree();
  tree.leaf_oversubscription = 2.0;
  tree.spine_oversubscription = 3.0;
  // 32 × 50 GB/s of NICs, a half over the leaves, a third of that over the spines.
  CHECK(of(tree, 8).bisection_bandwidth().base() == Approx(32 * 50e9 / 6.0).epsilon(1e-9));
}

TEST_CASE("Dual plane: half of every flow on each plane, and planes do not meet", "[topologies]") {
  DualPlane fabric;
  fabric.nodes_per_segment = 2;
  fabric.spines_per_plane = 3;
  const Cluster cluster = of(fabric, 4);
  CHECK(count(cluster, VertexKind::kNic) == 4 * 8 * 2);
  CHECK(count(cluster, VertexKind::kLeaf) == 2 * 2 * 8);
  const Route route = cluster.route(rank(0), rank(17));
  CHECK(route.hops.size() == 2 * (4 + 2 * 3));
  CHECK(conserves(cluster, route, 0, 17));
  for (const RouteHop& hop : route.hops) {
    const Link& link = cluster.link(hop.link);
    if (cluster.vertex(link.from).kind == VertexKind::kLeaf && cluster.vertex(link.to).kind == VertexKind::kSpine) {
      CHECK(cluster.vertex(link.from).name.substr(0, 6) == cluster.vertex(link.to).name.substr(0, 6));
      CHECK(hop.share == Approx(1.0 / 6.0).epsilon(1e-12));
    }
  }
  const Cluster hash = of(fabric, 4, {.paths = PathChoice::kEcmpHash, .seed = 1, .cross_rail = std::nullopt});
  CHECK(hash.route(rank(0), rank(17)).hops.size() == 6);
}

TEST_CASE("Dragonfly: at most one global link, and the minimal way", "[topologies]") {
  const Cluster cluster = of(small_dragonfly(), 9);  // 72 NICs: 9 = 4·2 + 1 groups of 8
  CHECK(count(cluster, VertexKind::kRouter) == 36);
  // 36 pairs of groups, 9 groups of 6 pairs of routers, 72 NICs; both ways.
  CHECK(count(cluster, LinkKind::kNetwork) == 2 * (36 + 9 * 6 + 72));
  const auto group = [&](VertexId id) { return cluster.vertex(id).name.substr(0, cluster.vertex(id).name.find('/')); };
  for (std::size_t from = 0; from < 72; from += 5) {
    for (std::size_t to = 0; to < 72; ++to) {
      if (from / 8 == to / 8) {
        continue;
      }
      const Route route = cluster.route(rank(from), rank(to));
      std::size_t global = 0;
      std::size_t local = 0;
      for (const RouteHop& hop : route.hops) {
        const Link& link = cluster.link(hop.link);
        const bool routers = cluster.vertex(link.from).kind == VertexKind::kRouter &&
                             cluster.vertex(link.to).kind == VertexKind::kRouter;
        global += routers && group(link.from) != group(link.to) ? 1 : 0;
        local += routers && group(link.from) == group(link.to) ? 1 : 0;
      }
      CHECK(global == 1);
      CHECK(local <= 2);
      CHECK(conserves(cluster, route, from, to));
    }
  }
}

TEST_CASE("Dragonfly: too many groups", "[topologies]") {
  CHECK(faults_of([] { of(small_dragonfly(), 10); }) ==
        "cluster.json#/network/fabric/dragonfly: expected at most 9 groups (4 routers × 2 global links + 1), found "
        "10\n");
}

TEST_CASE("A mesh has a link of its own for each pair", "[topologies]") {
  const Cluster cluster = load_cluster(ClusterName{"mi300x-8"}, 16, {"s", ""});
  CHECK(count(cluster, LinkKind::kScaleUp) == 2 * 8 * 7);
  CHECK(hops(cluster, 2, 5) == Names{"node0/gpu2", "node0/gpu5"});
  // 448 GB/s over seven links.
  CHECK(cluster.link(cluster.route(rank(2), rank(5)).hops[0].link).capacity.base() == Approx(64e9).epsilon(1e-12));
  CHECK(hops(cluster, 0, 8).size() == 5);
}

TEST_CASE("A PCIe box: under one switch, and over the host bridges", "[topologies]") {
  const Cluster cluster = load_cluster(ClusterName{"pcie-l40s"}, 16, {"s", ""});
  CHECK(hops(cluster, 0, 3) == Names{"node0/gpu0", "node0/pcie0", "node0/gpu3"});
  CHECK(hops(cluster, 0, 7) ==
        Names{"node0/gpu0", "node0/pcie0", "node0/bridge0", "node0/bridge1", "node0/pcie1", "node0/gpu7"});
  // The NIC hangs on the PCIe switch: a GPU's own link carries its network traffic, too.
  CHECK(hops(cluster, 1, 14) ==
        Names{"node0/gpu1", "node0/pcie0", "node0/nic0", "leaf0", "node1/nic1", "node1/pcie1", "node1/gpu6"});
}

// GPU to GPU, end to end, is what the fabric's figures say: 2.8 us over one leaf, as under NVSwitch, though the GPUs'
// links to their switches have half of PCIe's 3.33 us each.
TEST_CASE("Latencies between nodes of PCIe boxes are the fabric's own", "[topologies]") {
  for (const char* name : {"pcie-l40s", "pcie-a100"}) {
    const Cluster cluster = load_cluster(ClusterName{name}, 16, {"s", ""});
    CHECK(cluster.route(rank(0), rank(3)).latency.base() == Approx(3.33e-6).epsilon(1e-12));
    CHECK(cluster.route(rank(1), rank(14)).latency.base() == Approx(2.8e-6).epsilon(1e-12));
    CHECK(cluster.route(rank(15), rank(0)).latency.base() == Approx(2.8e-6).epsilon(1e-12));
  }
}

TEST_CASE("A torus is crossed dimension by dimension, the short way round", "[topologies]") {
  ClusterConfig config;
  config.name = "torus";
  config.accelerator = "tpu-v4";
  config.gpus_per_node = 5 * 4 * 2;
  config.scale_up.kind = ScaleUpKind::kTorus;
  config.scale_up.torus = Torus{{5, 4, 2}, std::nullopt};
  config.scale_up.latency = seconds(1e-6);
  const Cluster cluster = build(config);
  // 5·8 + 4·10 links up and down, and one cable where the ring is two chips.
  CHECK(cluster.links().size() == 2 * (40 + 40 + 20));
  CHECK(cluster.links()[0].capacity.base() == Approx(45e9).epsilon(1e-12));  // 270 GB/s over six links
  const auto at = [](std::size_t x, std::size_t y, std::size_t z) { return (x * 4 + y) * 2 + z; };
  // x: 0 to 4 is one step down; y: 0 to 1 up; z: one.
  CHECK(hops(cluster, at(0, 0, 0), at(4, 1, 1)) == Names{"node0/gpu0", cluster.vertex(VertexId(at(4, 0, 0))).name,
                                                         cluster.vertex(VertexId(at(4, 1, 0))).name,
                                                         cluster.vertex(VertexId(at(4, 1, 1))).name});
  // y: 0 to 2 of 4 is as far both ways: half of the bytes each.
  const Route tie = cluster.route(rank(at(0, 0, 0)), rank(at(0, 2, 0)));
  CHECK(tie.hops.size() == 4);
  CHECK(tie.hops[0].share == 0.5);
  CHECK(tie.latency.base() == Approx(2e-6).epsilon(1e-12));
  const auto ring = [](std::size_t a, std::size_t b, std::size_t size) {
    const std::size_t up = (b + size - a) % size;
    return std::min(up, size - up);
  };
  for (std::size_t from = 0; from < 40; ++from) {
    for (std::size_t to = 0; to < 40; ++to) {
      if (from != to) {
        const Route route = cluster.route(rank(from), rank(to));
        double length = 0.0;
        for (const RouteHop& hop : route.hops) {
          length += hop.share;
        }
        const std::size_t expected =
            ring(from / 8, to / 8, 5) + ring(from / 2 % 4, to / 2 % 4, 4) + ring(from % 2, to % 2, 2);
        CHECK(length == Approx(static_cast<double>(expected)).epsilon(1e-12));
        CHECK(conserves(cluster, route, from, to));
      }
    }
  }
}

TEST_CASE("An open edge is not crossed", "[topologies]") {
  ClusterConfig config;
  config.name = "mesh";
  config.accelerator = "tpu-v5e";
  config.gpus_per_node = 12;
  config.scale_up.kind = ScaleUpKind::kTorus;
  config.scale_up.torus = Torus{{3, 4}, std::vector{TorusEdge::kWrap, TorusEdge::kOpen}};
  const Cluster cluster = build(config);
  CHECK(cluster.links().size() == 2 * (12 + 9));
  CHECK(hops(cluster, 0, 3).size() == 4);
  CHECK(hops(cluster, 0, 8).size() == 2);
}

TEST_CASE("Routes of sprayed fabrics conserve bytes", "[topologies][property]") {
  for (const char* name : {"alibaba-hpn", "hgx-h100-fat-tree", "hgx-h100-dragonfly", "hgx-h100-rail-only", "pcie-a100",
                           "mi300x-8", "gb200-nvl72"}) {
    CAPTURE(name);
    const Cluster cluster = load_cluster(ClusterName{name}, 288, {"s", ""});
    RandomStream random(5, name);
    for (int i = 0; i < 200; ++i) {
      const std::size_t from = random.below(288);
      const std::size_t to = random.below(288);
      if (from != to) {
        REQUIRE(conserves(cluster, cluster.route(rank(from), rank(to)), from, to));
      }
    }
  }
}
