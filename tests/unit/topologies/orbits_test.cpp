#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <map>

#include "sim/core/quantity.hpp"
#include "tests/unit/topologies/clusters.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

/// Uniform all-to-all among the first ranks, every route computed: all links of an orbit carry the same, and every rank
/// uses each orbit as much, by the same set of routes.
void check_orbits(const Cluster& cluster, std::size_t ranks) {
  const auto orbits = cluster.orbits(ranks);
  REQUIRE(orbits);
  REQUIRE(orbits->of_link.size() == cluster.links().size());
  std::vector<double> carried(cluster.links().size());
  using Shape = std::map<std::vector<std::pair<std::uint32_t, long>>, std::size_t>;
  std::optional<Shape> first;
  for (std::size_t from = 0; from < ranks; ++from) {
    Shape shape;
    for (std::size_t to = 0; to < ranks; ++to) {
      if (from == to) {
        continue;
      }
      std::vector<std::pair<std::uint32_t, long>> used;
      for (const RouteHop& hop : cluster.route(rank(from), rank(to)).hops) {
        carried[hop.link.index()] += hop.share;
        used.emplace_back(orbits->of_link[hop.link.index()], std::lround(hop.share * 1e9));
      }
      std::sort(used.begin(), used.end());
      ++shape[used];
    }
    first = first ? first : shape;
    REQUIRE(shape == *first);
  }
  std::vector<std::optional<double>> of_orbit(orbits->count);
  for (std::size_t link = 0; link < carried.size(); ++link) {
    auto& expected = of_orbit.at(orbits->of_link[link]);
    expected = expected.value_or(carried[link]);
    REQUIRE(carried[link] == Approx(*expected).epsilon(1e-9).margin(1e-9));
    REQUIRE(cluster.links()[link].capacity > Bandwidth{});
  }
}

Cluster spread_over(const Fabric& fabric, std::size_t nodes) {
  ClusterConfig config = eight_gpu_nodes(nodes);
  config.network->fabric = fabric;
  return build(config);
}

Cluster torus(std::vector<std::size_t> shape) {
  ClusterConfig config;
  config.name = "torus";
  config.accelerator = "tpu-v4";
  config.gpus_per_node = 1;
  for (const std::size_t size : shape) {
    config.gpus_per_node *= size;
  }
  config.scale_up.kind = ScaleUpKind::kTorus;
  config.scale_up.torus = Torus{std::move(shape), std::nullopt};
  return build(config);
}

}  // namespace

TEST_CASE("Orbits of symmetric clusters: what all routes add up to", "[topologies][property]") {
  SECTION("leaves by rail under one spine") {
    RailLeafSpine fabric;
    fabric.nodes_per_leaf = 2;
    check_orbits(spread_over(fabric, 6), 48);
  }
  SECTION("real spines") {
    RailLeafSpine fabric;
    fabric.spines = 3;
    fabric.rails = 4;
    check_orbits(spread_over(fabric, 3), 24);
  }
  SECTION("NVLink forwarding") {
    ClusterConfig config = eight_gpu_nodes(4);
    config.routing.cross_rail = CrossRail::kNvlink;
    check_orbits(build(config), 32);
  }
  SECTION("shared NICs") {
    ClusterConfig config = eight_gpu_nodes(4);
    config.network->nics_per_node = 4;
    check_orbits(build(config), 32);
  }
  SECTION("rail-only") { check_orbits(spread_over(RailOnly{}, 5), 40); }
  SECTION("fat tree") {
    FatTree tree;
    tree.rails = 2;
    tree.nodes_per_leaf = 2;
    tree.blocks_per_pod = 2;
    tree.spines_per_pod = 3;
    tree.cores_per_spine = 2;
    check_orbits(spread_over(tree, 8), 64);
  }
  SECTION("dual plane") {
    DualPlane fabric;
    fabric.nodes_per_segment = 2;
    fabric.spines_per_plane = 2;
    check_orbits(spread_over(fabric, 6), 48);
  }
  SECTION("part of one node") { check_orbits(spread_over(RailLeafSpine{}, 2), 5); }
  SECTION("a mesh, and part of it") {
    const Cluster cluster = load_cluster(ClusterName{"mi300x-8"}, 8, {"s", ""});
    check_orbits(cluster, 8);
    check_orbits(cluster, 3);
  }
  SECTION("PCIe") {
    check_orbits(load_cluster(ClusterName{"pcie-l40s"}, 8, {"s", ""}), 8);
    check_orbits(load_cluster(ClusterName{"pcie-l40s"}, 32, {"s", ""}), 32);
  }
  SECTION("tori, odd and even, with rings of two") {
    check_orbits(torus({4, 4}), 16);
    check_orbits(torus({5, 3}), 15);
    check_orbits(torus({4, 2, 6}), 48);
  }
}

TEST_CASE("No orbits where the cluster looks different from different GPUs", "[topologies]") {
  RailLeafSpine fabric;
  fabric.nodes_per_leaf = 2;
  CHECK_FALSE(spread_over(fabric, 5).orbits(40));  // the last leaf has half as many nodes
  CHECK_FALSE(spread_over(fabric, 6).orbits(40));  // a node stands idle
  fabric.rails = 3;
  CHECK_FALSE(spread_over(fabric, 6).orbits(48));  // NICs 0, 3 and 6 share a leaf, 2 and 5 another
  Dragonfly dragonfly;
  dragonfly.nics_per_router = 8;
  dragonfly.routers_per_group = 2;
  CHECK_FALSE(spread_over(dragonfly, 6).orbits(48));
  CHECK_FALSE(load_cluster(ClusterName{"pcie-l40s"}, 8, {"s", ""}).orbits(4));
  CHECK_FALSE(torus({4, 4}).orbits(8));

  ClusterConfig config = eight_gpu_nodes(4);
  config.routing.paths = PathChoice::kEcmpHash;
  CHECK_FALSE(build(config).orbits(32));
  config.routing.paths.reset();
  CHECK(build(config).orbits(32));
  config.faults.emplace_back(LinkFault{"node0/gpu0", "node0/nvswitch", LinkDirection::kBoth, 0.5});
  CHECK_FALSE(build(config).orbits(32));
}
