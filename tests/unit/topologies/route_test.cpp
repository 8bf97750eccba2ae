#include <algorithm>
#include <catch2/catch.hpp>
#include <thread>

#include "sim/core/error.hpp"
#include "sim/core/random.hpp"
#include "tests/unit/topologies/clusters.hpp"

using namespace moesim;
using namespace moesim::test;
using Names = std::vector<std::string>;

namespace {

/// True where the links join up, from GPU to GPU, with no GPU between and no vertex twice.
bool is_path(const Cluster& cluster, const Route& route, RankId from, RankId to) {
  VertexId at(from.index());
  std::vector<VertexId> passed{at};
  for (const RouteHop& hop : route.hops) {
    const Link& link = cluster.link(hop.link);
    const bool inner = link.to != VertexId(to.index());
    if (link.from != at || (inner && !is_transit(cluster.vertex(link.to).kind)) ||
        std::find(passed.begin(), passed.end(), link.to) != passed.end()) {
      return false;
    }
    at = link.to;
    passed.push_back(at);
  }
  return at == VertexId(to.index());
}

/// The route back, reversed: the same cables in the other direction.
bool mirrors(const Cluster& cluster, const Route& there, const Route& back) {
  return std::equal(there.hops.begin(), there.hops.end(), back.hops.rbegin(), back.hops.rend(),
                    [&](const RouteHop& a, const RouteHop& b) {
                      return a.share == 1.0 && b.share == 1.0 && cluster.link(a.link).from == cluster.link(b.link).to &&
                             cluster.link(a.link).to == cluster.link(b.link).from;
                    });
}

ClusterConfig random_config(RandomStream& random) {
  ClusterConfig config = eight_gpu_nodes(1 + random.below(9));
  config.gpus_per_node = 1 + random.below(8);
  std::vector<std::size_t> nics;
  for (std::size_t n = 1; n <= 2 * config.gpus_per_node; ++n) {
    if (n % config.gpus_per_node == 0 || config.gpus_per_node % n == 0) {
      nics.push_back(n);
    }
  }
  config.network->nics_per_node = nics[random.below(nics.size())];
  const std::size_t most_rails = std::min(*config.network->nics_per_node, config.gpus_per_node);
  fabric_of(config).rails = 1 + random.below(most_rails);
  fabric_of(config).nodes_per_leaf = 1 + random.below(4);
  fabric_of(config).oversubscription = 1.0 + 3.0 * random.uniform();
  return config;
}

}  // namespace

TEST_CASE("Routes hop by hop", "[topologies]") {
  const Cluster cluster = build(eight_gpu_nodes(4));
  CHECK(hops(cluster, 1, 6) == Names{"node0/gpu1", "node0/nvswitch", "node0/gpu6"});
  // Same index in another node: one leaf.
  CHECK(hops(cluster, 3, 27) == Names{"node0/gpu3", "node0/nic3", "leaf3", "node3/nic3", "node3/gpu3"});
  // Another index: over the spine to the other's own rail.
  CHECK(hops(cluster, 3, 12) ==
        Names{"node0/gpu3", "node0/nic3", "leaf3", "spine", "leaf4", "node1/nic4", "node1/gpu4"});
  CHECK_THROWS_AS(cluster.route(rank(3), rank(3)), InternalError);
  CHECK_THROWS_AS(cluster.route(rank(3), rank(32)), InternalError);
}

TEST_CASE("The same rail in another block of nodes goes over the spine", "[topologies]") {
  ClusterConfig config = eight_gpu_nodes(4);
  fabric_of(config).nodes_per_leaf = 2;
  const Cluster cluster = build(config);
  CHECK(hops(cluster, 0, 8).size() == 5);
  CHECK(hops(cluster, 0, 16) ==
        Names{"node0/gpu0", "node0/nic0", "leaf0", "spine", "leaf8", "node2/nic0", "node2/gpu0"});
}

TEST_CASE("Latencies over a route add up to the published end-to-end figures", "[topologies]") {
  // Zhao et al., ISCA 2025: NVLink 3.33 µs, InfiniBand 2.8 µs under one leaf and 3.7 µs over the spine. Sums of at
  // most six doubles: to within 1e-12.
  const Cluster cluster = load_cluster(ClusterName{"hgx-h800"}, 64, {"scenario.json", "/cluster"});
  const auto latency = [&](std::size_t from, std::size_t to) {
    return cluster.route(rank(from), rank(to)).latency.base();
  };
  CHECK(latency(0, 7) == Approx(3.33e-6).epsilon(1e-12));
  CHECK(latency(0, 8) == Approx(2.8e-6).epsilon(1e-12));
  CHECK(latency(0, 9) == Approx(3.7e-6).epsilon(1e-12));
  CHECK(latency(63, 0) == Approx(3.7e-6).epsilon(1e-12));
}

TEST_CASE("In any cluster every pair has a path, the shortest, and the same way back", "[topologies][property]") {
  RandomStream random(20240807, "topologies/routes");
  std::size_t over_spine = 0;
  for (int trial = 0; trial < 60; ++trial) {
    const ClusterConfig config = random_config(random);
    const Cluster cluster = build(config);
    const RailLeafSpine& fabric = std::get<RailLeafSpine>(cluster.config().network->fabric);
    const std::size_t per_node = std::min(*cluster.config().network->nics_per_node, config.gpus_per_node);
    const auto leaf_of = [&](RankId gpu) {
      const std::size_t nic = gpu.index() % config.gpus_per_node / (config.gpus_per_node / per_node);
      return std::pair(cluster.node_of(gpu).index() / *fabric.nodes_per_leaf, nic % *fabric.rails);
    };
    for (std::size_t a = 0; a < cluster.gpus(); ++a) {
      for (std::size_t b = 0; b < cluster.gpus(); ++b) {
        if (a == b) {
          continue;
        }
        const Route route = cluster.route(rank(a), rank(b));
        // GPU–switch–GPU, GPU–NIC–leaf–NIC–GPU, or by the spine between two leaves.
        const std::size_t links = cluster.same_scale_up(rank(a), rank(b)) ? 2
                                  : leaf_of(rank(a)) == leaf_of(rank(b))  ? 4
                                                                          : 6;
        const double latency = links == 2 ? 3.33e-6 : links == 4 ? 2.8e-6 : 3.7e-6;
        over_spine += links == 6 ? 1 : 0;
        if (!is_path(cluster, route, rank(a), rank(b)) || route.hops.size() != links ||
            !mirrors(cluster, route, cluster.route(rank(b), rank(a))) ||
            route.latency.base() != Approx(latency).epsilon(1e-12)) {
          FAIL("trial " << trial << ": from " << a << " to " << b);
        }
      }
    }
  }
  CHECK(over_spine > 1000);
}

TEST_CASE("Threads may ask for routes at the same time", "[topologies]") {
  const Cluster cluster = build(eight_gpu_nodes(8));
  std::vector<std::vector<RouteHop>> expected;
  for (std::size_t to = 1; to < cluster.gpus(); ++to) {
    expected.push_back(cluster.route(rank(0), rank(to)).hops);
  }
  std::vector<std::size_t> wrong(4, 0);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t to = 1; to < cluster.gpus(); ++to) {
        wrong[t] += cluster.route(rank(0), rank(to)).hops == expected[to - 1] ? 0 : 1;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  CHECK(wrong == std::vector<std::size_t>(4, 0));
}

TEST_CASE("A thousand GPUs", "[topologies]") {
  const Cluster cluster = build(eight_gpu_nodes(128));
  CHECK(cluster.gpus() == 1024);
  // 128 nodes × (8 GPUs + switch + 8 NICs) + 8 leaves + spine; 1,024 × 6 links + 8 trunks both ways.
  CHECK(cluster.vertices().size() == 128 * 17 + 9);
  CHECK(cluster.links().size() == 1024 * 6 + 16);
  CHECK(cluster.route(rank(0), rank(1023)).hops.size() == 6);
  CHECK(cluster.route(rank(7), rank(1023)).hops.size() == 4);
}

TEST_CASE("Sixteen thousand GPUs are built, and routed between, in seconds", "[topologies]") {
  const Cluster cluster = build(eight_gpu_nodes(2048));
  CHECK(cluster.vertices().size() == 2048 * 17 + 9);
  std::size_t links = 0;
  for (std::size_t to = 1; to < cluster.gpus(); ++to) {
    links += cluster.route(rank(0), rank(to)).hops.size();
  }
  // From GPU 0: 7 neighbours, 2,047 on its rail, the rest over the spine.
  CHECK(links == 7 * 2 + 2047 * 4 + (16383 - 7 - 2047) * 6);
}
