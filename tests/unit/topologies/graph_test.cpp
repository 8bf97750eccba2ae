#include <catch2/catch.hpp>

#include "models/hardware/hardware.hpp"
#include "sim/core/error.hpp"
#include "tests/unit/topologies/clusters.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

constexpr double kRelative = 1e-12;

/// The only link from a vertex of this name to the other.
const Link& link_between(const Cluster& cluster, const std::string& from, const std::string& to) {
  const Link* found = nullptr;
  for (std::size_t i = 0; i < cluster.links().size(); ++i) {
    if (cluster.link_name(LinkId(i)) == from + " → " + to) {
      REQUIRE(found == nullptr);
      found = &cluster.links()[i];
    }
  }
  REQUIRE(found != nullptr);
  return *found;
}

double capacity(const Cluster& cluster, const std::string& from, const std::string& to) {
  return link_between(cluster, from, to).capacity.base();
}

}  // namespace

TEST_CASE("Four nodes of eight: how many devices and links there are", "[topologies]") {
  const Cluster cluster = build(eight_gpu_nodes(4));
  CHECK(cluster.gpus() == 32);
  CHECK(cluster.nodes() == 4);
  CHECK(cluster.gpus_per_node() == 8);
  CHECK(count(cluster, VertexKind::kGpu) == 32);
  CHECK(count(cluster, VertexKind::kNvSwitch) == 4);
  CHECK(count(cluster, VertexKind::kNic) == 32);
  CHECK(count(cluster, VertexKind::kLeaf) == 8);
  CHECK(count(cluster, VertexKind::kSpine) == 1);
  // Each GPU: to and from its switch, to and from its NIC; each NIC and each leaf: up and down.
  CHECK(count(cluster, LinkKind::kScaleUp) == 64);
  CHECK(count(cluster, LinkKind::kHost) == 64);
  CHECK(count(cluster, LinkKind::kNetwork) == 64 + 16);
}

TEST_CASE("What has nothing to connect is left out", "[topologies]") {
  SECTION("one node needs no network") {
    const Cluster cluster = build(eight_gpu_nodes(1));
    CHECK(cluster.vertices().size() == 8 + 1);
    CHECK(cluster.links().size() == 16);
    REQUIRE(cluster.nic() != nullptr);
    CHECK(cluster.nic()->name == find_nic("connectx-7-ndr", {}).name);
  }
  SECTION("one GPU a node needs no scale-up switch, and one rail no spine") {
    ClusterConfig config = eight_gpu_nodes(3);
    config.gpus_per_node = 1;
    const Cluster cluster = build(config);
    CHECK(count(cluster, VertexKind::kNvSwitch) == 0);
    CHECK(count(cluster, VertexKind::kLeaf) == 1);
    CHECK(count(cluster, VertexKind::kSpine) == 0);
    CHECK(cluster.links().size() == 3 * 4);
  }
  SECTION("a single GPU") {
    ClusterConfig config = eight_gpu_nodes(1);
    config.gpus_per_node = 1;
    config.network.reset();
    const Cluster cluster = build(config);
    CHECK(cluster.vertices().size() == 1);
    CHECK(cluster.links().empty());
    CHECK(cluster.nic() == nullptr);
  }
}

TEST_CASE("Capacities come from the accelerator, its PCIe and the NIC", "[topologies]") {
  const Cluster cluster = build(eight_gpu_nodes(2));
  CHECK(capacity(cluster, "node1/gpu3", "node1/nvswitch") == Approx(450e9).epsilon(kRelative));
  CHECK(capacity(cluster, "node1/nvswitch", "node1/gpu3") == Approx(450e9).epsilon(kRelative));
  CHECK(capacity(cluster, "node1/gpu3", "node1/nic3") == Approx(64e9).epsilon(kRelative));
  CHECK(capacity(cluster, "node1/nic3", "leaf3") == Approx(50e9).epsilon(kRelative));  // 400 Gb/s
  CHECK(capacity(cluster, "leaf3", "node1/nic3") == Approx(50e9).epsilon(kRelative));

  ClusterConfig own = eight_gpu_nodes(2);
  own.scale_up.bandwidth = bytes_per_second(100e9);
  own.network->host_bandwidth = bytes_per_second(20e9);
  const Cluster slower = build(own);
  CHECK(capacity(slower, "node0/gpu0", "node0/nvswitch") == Approx(100e9).epsilon(kRelative));
  CHECK(capacity(slower, "node0/gpu0", "node0/nic0") == Approx(20e9).epsilon(kRelative));
}

TEST_CASE("A leaf's trunk carries what its NICs carry over the oversubscription", "[topologies]") {
  ClusterConfig config = eight_gpu_nodes(4);
  // 4 nodes × 50 GB/s hang on each leaf.
  CHECK(capacity(build(config), "leaf0", "spine") == Approx(4 * 50e9).epsilon(kRelative));
  fabric_of(config).oversubscription = 2.5;
  CHECK(capacity(build(config), "leaf0", "spine") == Approx(4 * 50e9 / 2.5).epsilon(kRelative));
  CHECK(capacity(build(config), "spine", "leaf7") == Approx(4 * 50e9 / 2.5).epsilon(kRelative));
}

TEST_CASE("Blocks of nodes have leaves of their own", "[topologies]") {
  ClusterConfig config = eight_gpu_nodes(5);
  fabric_of(config).nodes_per_leaf = 2;
  const Cluster cluster = build(config);
  CHECK(count(cluster, VertexKind::kLeaf) == 3 * 8);  // nodes 0–1, 2–3, 4
  CHECK(capacity(cluster, "node3/nic6", "leaf14") == Approx(50e9).epsilon(kRelative));
  CHECK(capacity(cluster, "leaf14", "spine") == Approx(2 * 50e9).epsilon(kRelative));
  CHECK(capacity(cluster, "leaf22", "spine") == Approx(50e9).epsilon(kRelative));  // node 4 alone
}

TEST_CASE("NICs may be shared by GPUs or striped over", "[topologies]") {
  ClusterConfig config = eight_gpu_nodes(2);
  SECTION("four NICs for eight GPUs: neighbours share one") {
    config.network->nics_per_node = 4;
    const Cluster cluster = build(config);
    CHECK(count(cluster, VertexKind::kNic) == 8);
    CHECK(count(cluster, VertexKind::kLeaf) == 4);
    CHECK(hops(cluster, 3, 10) ==
          std::vector<std::string>{"node0/gpu3", "node0/nic1", "leaf1", "node1/nic1", "node1/gpu2"});
    CHECK(hops(cluster, 2, 3) == std::vector<std::string>{"node0/gpu2", "node0/nvswitch", "node0/gpu3"});
  }
  SECTION("sixteen: two for each GPU, drawn as one of twice the bandwidth") {
    config.network->nics_per_node = 16;
    const Cluster cluster = build(config);
    CHECK(count(cluster, VertexKind::kNic) == 16);
    CHECK(capacity(cluster, "node0/nic7", "leaf7") == Approx(100e9).epsilon(kRelative));
  }
  SECTION("a leaf for two rails") {
    fabric_of(config).rails = 4;
    const Cluster cluster = build(config);
    CHECK(count(cluster, VertexKind::kLeaf) == 4);
    CHECK(hops(cluster, 1, 13) ==
          std::vector<std::string>{"node0/gpu1", "node0/nic1", "leaf1", "node1/nic5", "node1/gpu5"});
    CHECK(capacity(cluster, "leaf1", "spine") == Approx(4 * 50e9).epsilon(kRelative));  // 2 nodes × NICs 1 and 5
  }
}

TEST_CASE("An accelerator without a PCIe figure is not limited by it", "[topologies]") {
  ClusterConfig config = eight_gpu_nodes(2);
  config.accelerator = "gb200";
  REQUIRE_FALSE(find_accelerator("gb200", {}).host_bandwidth);
  CHECK(capacity(build(config), "node0/gpu0", "node0/nic0") == Approx(50e9).epsilon(kRelative));
}

TEST_CASE("GPU r is vertex r and stands where its rank says", "[topologies]") {
  const Cluster cluster = build(eight_gpu_nodes(3));
  CHECK(cluster.node_of(rank(7)) == NodeId(0));
  CHECK(cluster.node_of(rank(8)) == NodeId(1));
  CHECK(cluster.vertex(VertexId(21)).name == "node2/gpu5");
  CHECK(cluster.vertex(VertexId(21)).node == NodeId(2));
  CHECK(cluster.same_scale_up(rank(8), rank(15)));
  CHECK(cluster.same_scale_up(rank(8), rank(8)));
  CHECK_FALSE(cluster.same_scale_up(rank(7), rank(8)));
  CHECK_THROWS_AS(cluster.node_of(rank(24)), InternalError);
  CHECK(cluster.link_name(LinkId(0)) == "node0/gpu0 → node0/nvswitch");
}

TEST_CASE("A drawing shows whole nodes, each cable once", "[topologies]") {
  const Cluster cluster = build(eight_gpu_nodes(4));
  const std::string dot = to_dot(cluster);
  const auto occurrences = [&](const std::string& text) {
    std::size_t total = 0;
    for (std::size_t at = dot.find(text); at != std::string::npos; at = dot.find(text, at + 1)) {
      ++total;
    }
    return total;
  };
  CHECK(dot.find("test: 32 GPUs (2 of 4 nodes drawn)") != std::string::npos);
  // 2 nodes × 8 × (switch, NIC, leaf) and 8 trunks.
  CHECK(occurrences(" -- ") == 2 * 8 * 3 + 8);
  CHECK(occurrences("\"node1/gpu7\" -- \"node1/nvswitch\" [label=\"450 GB/s\"]") == 1);
  CHECK(occurrences("node2") == 0);
  CHECK(to_dot(build(eight_gpu_nodes(1))).find("drawn") == std::string::npos);
}
