#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <deque>

#include "sim/core/quantity.hpp"
#include "sim/core/random.hpp"
#include "topologies/routing.hpp"

using namespace moesim;

namespace {

VertexId add(ClusterGraph& graph, VertexKind kind) { return graph.add({kind, "", std::nullopt}); }

void connect(ClusterGraph& graph, VertexId a, VertexId b) {
  graph.connect(a, b, bytes_per_second(1e9), seconds(1e-6), LinkKind::kNetwork);
}

void connect_one_way(ClusterGraph& graph, VertexId from, VertexId to) {
  graph.links.push_back({from, to, bytes_per_second(1e9), seconds(1e-6), LinkKind::kNetwork});
}

std::vector<VertexId> vertices_of(const ClusterGraph& graph, const std::vector<RouteHop>& path) {
  std::vector<VertexId> passed{graph.links[path.front().link.index()].from};
  for (const RouteHop& hop : path) {
    const Link& link = graph.links[hop.link.index()];
    REQUIRE(link.from == passed.back());
    passed.push_back(link.to);
  }
  return passed;
}

/// Oracle: fewest links from `from` to everything, by breadth-first search that never goes on from another GPU.
std::vector<std::optional<std::size_t>> distances(const ClusterGraph& graph, VertexId from) {
  std::vector<std::optional<std::size_t>> distance(graph.vertices.size());
  distance[from.index()] = 0;
  std::deque<VertexId> queue{from};
  for (; !queue.empty(); queue.pop_front()) {
    const VertexId at = queue.front();
    if (at != from && !is_transit(graph.vertices[at.index()].kind)) {
      continue;
    }
    for (const Link& link : graph.links) {
      if (link.from == at && !distance[link.to.index()]) {
        distance[link.to.index()] = *distance[at.index()] + 1;
        queue.push_back(link.to);
      }
    }
  }
  return distance;
}

}  // namespace

TEST_CASE("A ring of switches is crossed the short way", "[topologies]") {
  // Five leaves in a ring, a GPU on each: 0 to 2 is two steps one way and three the other.
  ClusterGraph graph;
  std::vector<VertexId> gpus;
  std::vector<VertexId> ring;
  for (int i = 0; i < 5; ++i) {
    gpus.push_back(add(graph, VertexKind::kGpu));
    ring.push_back(add(graph, VertexKind::kLeaf));
    connect(graph, gpus.back(), ring.back());
  }
  for (std::size_t i = 0; i < 5; ++i) {
    connect(graph, ring[i], ring[(i + 1) % 5]);
  }
  const Router router(graph);
  CHECK(vertices_of(graph, router.route(gpus[0], gpus[2])->hops) ==
        std::vector{gpus[0], ring[0], ring[1], ring[2], gpus[2]});
  CHECK(vertices_of(graph, router.route(gpus[0], gpus[3])->hops) ==
        std::vector{gpus[0], ring[0], ring[4], ring[3], gpus[3]});
}

TEST_CASE("GPUs are no way through, and a direct link is the shortest", "[topologies]") {
  ClusterGraph graph;
  const VertexId a = add(graph, VertexKind::kGpu);
  const VertexId b = add(graph, VertexKind::kGpu);
  const VertexId c = add(graph, VertexKind::kGpu);
  const VertexId nvswitch = add(graph, VertexKind::kNvSwitch);
  connect(graph, a, nvswitch);
  connect(graph, b, nvswitch);
  connect(graph, a, b);
  connect(graph, b, c);
  const Router router(graph);
  CHECK(vertices_of(graph, router.route(a, b)->hops) == std::vector{a, b});
  CHECK(vertices_of(graph, router.route(c, b)->hops) == std::vector{c, b});
  CHECK_FALSE(router.route(a, c));
}

TEST_CASE("One-way links are followed one way", "[topologies]") {
  // x → y → z → x, and a dead end: from z to w only.
  ClusterGraph graph;
  const VertexId a = add(graph, VertexKind::kGpu);
  const VertexId b = add(graph, VertexKind::kGpu);
  const VertexId d = add(graph, VertexKind::kGpu);
  std::vector<VertexId> ring;
  for (int i = 0; i < 4; ++i) {
    ring.push_back(add(graph, VertexKind::kLeaf));
  }
  connect(graph, a, ring[0]);
  connect(graph, b, ring[1]);
  connect(graph, d, ring[3]);
  connect_one_way(graph, ring[0], ring[1]);
  connect_one_way(graph, ring[1], ring[2]);
  connect_one_way(graph, ring[2], ring[0]);
  connect_one_way(graph, ring[2], ring[3]);
  const Router router(graph);
  CHECK(router.route(a, b)->hops.size() == 3);
  CHECK(router.route(b, a)->hops.size() == 4);
  CHECK(router.route(a, d)->hops.size() == 5);
  CHECK_FALSE(router.route(d, a));
}

TEST_CASE("Of parallel links the first is taken", "[topologies]") {
  ClusterGraph graph;
  const VertexId a = add(graph, VertexKind::kGpu);
  const VertexId b = add(graph, VertexKind::kGpu);
  const VertexId nvswitch = add(graph, VertexKind::kNvSwitch);
  connect(graph, a, nvswitch);
  connect(graph, a, nvswitch);
  connect(graph, b, nvswitch);
  CHECK(Router(graph).route(a, b)->hops == std::vector<RouteHop>{{LinkId(0)}, {LinkId(5)}});
}

TEST_CASE("Paths in random graphs are as short as breadth-first search finds", "[topologies][property]") {
  RandomStream random(7, "topologies/router");
  std::size_t unreachable = 0;
  std::size_t long_ones = 0;
  for (int trial = 0; trial < 200; ++trial) {
    ClusterGraph graph;
    const std::size_t gpus = 2 + random.below(6);
    const std::size_t count = gpus + 1 + random.below(12);
    for (std::size_t v = 0; v < count; ++v) {
      add(graph, v < gpus ? VertexKind::kGpu : VertexKind::kLeaf);
    }
    // Sparse, so that trees, cores and separate parts all occur; one link in eight goes one way only.
    const std::size_t cables = count + random.below(count);
    for (std::size_t i = 0; i < cables; ++i) {
      const VertexId a(random.below(count));
      const VertexId b(random.below(count));
      if (a != b) {
        random.below(8) == 0 ? connect_one_way(graph, a, b) : connect(graph, a, b);
      }
    }
    const Router router(graph);
    for (std::size_t a = 0; a < gpus; ++a) {
      const auto oracle = distances(graph, VertexId(a));
      for (std::size_t b = 0; b < gpus; ++b) {
        if (a == b) {
          continue;
        }
        const auto path = router.route(VertexId(a), VertexId(b));
        REQUIRE(path.has_value() == oracle[b].has_value());
        unreachable += path ? 0 : 1;
        if (path) {
          REQUIRE(path->hops.size() == *oracle[b]);
          REQUIRE(vertices_of(graph, path->hops).back() == VertexId(b));
          long_ones += path->hops.size() > 3 ? 1 : 0;
        }
      }
    }
  }
  CHECK(unreachable > 10);
  CHECK(long_ones > 10);
}
