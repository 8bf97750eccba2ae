#include <catch2/catch.hpp>

#include "sim/config/decode.hpp"
#include "sim/config/describe.hpp"
#include "sim/config/document.hpp"
#include "tests/unit/topologies/clusters.hpp"

using namespace moesim;
using namespace moesim::test;
using Names = std::vector<std::string>;

namespace {

ClusterConfig with(ClusterConfig config, const Fault& fault) {
  config.faults.push_back(fault);
  return config;
}

Fault dead_link(const std::string& from, const std::string& to) { return LinkFault{from, to, LinkDirection::kBoth, 0}; }
Fault dead(const std::string& name) { return VertexFault{name, 0}; }

ClusterConfig decode(const std::string& graph, std::size_t gpus_per_node = 1) {
  return decode_document<ClusterConfig>(Document::parse(
      "graph.json", R"({"schema": "moesim.cluster/1", "name": "own", "accelerator": "h200-sxm", "gpus_per_node": )" +
                        std::to_string(gpus_per_node) + R"(, "graph": )" + graph + "}"));
}

const std::string kVertices =
    R"("vertices": [{"name": "a", "kind": "gpu"}, {"name": "s", "kind": "switch"}, {"name": "b", "kind": "gpu"},
                    {"name": "t", "kind": "switch"}])";

std::string cable(const std::string& from, const std::string& to, const std::string& more = "") {
  return R"({"from": ")" + from + R"(", "to": ")" + to + R"(", "bandwidth": "10 GB/s", "latency": "1 us")" + more + "}";
}

std::string graph(const std::string& links) { return "{" + kVertices + R"(, "links": [)" + links + "]}"; }

}  // namespace

TEST_CASE("A slow link keeps a fraction of its capacity, one way or both", "[topologies]") {
  ClusterConfig config = with(eight_gpu_nodes(2), LinkFault{"node0/nic3", "leaf3", LinkDirection::kOne, 0.25});
  const Cluster cluster = build(config);
  for (std::size_t i = 0; i < cluster.links().size(); ++i) {
    const std::string name = cluster.link_name(LinkId(i));
    if (name == "node0/nic3 → leaf3") {
      CHECK(cluster.links()[i].capacity.base() == Approx(12.5e9).epsilon(1e-12));
    } else if (name == "leaf3 → node0/nic3" || name == "node1/nic3 → leaf3") {
      CHECK(cluster.links()[i].capacity.base() == Approx(50e9).epsilon(1e-12));
    }
  }
}

TEST_CASE("Dead spines and uplinks leave the rest to the others", "[topologies]") {
  ClusterConfig config = eight_gpu_nodes(2);
  fabric_of(config).spines = 4;
  config = with(with(config, dead("spine2")), dead_link("leaf0", "spine1"));
  const Cluster cluster = build(config);
  CHECK(cluster.is_dead(VertexId(cluster.vertices().size() - 2)));
  const Route route = cluster.route(rank(0), rank(9));
  CHECK(route.hops.size() == 2 + 2 + 2 + 2);  // over spine0 and spine3
  for (const RouteHop& hop : route.hops) {
    CHECK(cluster.vertex(cluster.link(hop.link).to).name != "spine1");
    CHECK(cluster.vertex(cluster.link(hop.link).to).name != "spine2");
  }
}

TEST_CASE("Past a dead NIC traffic goes over a neighbour's", "[topologies]") {
  const Cluster cluster = build(with(eight_gpu_nodes(2), dead("node0/nic3")));
  CHECK(hops(cluster, 3, 11) == Names{"node0/gpu3", "node0/nvswitch", "node0/gpu0", "node0/nic0", "leaf0", "node1/nic0",
                                      "node1/gpu0", "node1/nvswitch", "node1/gpu3"});
  const Cluster rails = [] {
    ClusterConfig config = eight_gpu_nodes(2);
    config.network->fabric = RailOnly{};
    return build(with(config, dead("leaf5")));
  }();
  CHECK(hops(rails, 5, 13).front() == "node0/gpu5");
  CHECK(hops(rails, 5, 13)[4] == "leaf0");
}

TEST_CASE("What is dead on the only way is named", "[topologies]") {
  ClusterConfig one_nic = eight_gpu_nodes(2);
  one_nic.network->nics_per_node = 1;
  CHECK(faults(with(one_nic, dead("node1/nic0"))) ==
        "cluster.json#/faults: expected a network that connects all GPUs, found two parts without a link between them: "
        "{node0/gpu0, node0/gpu1, node0/gpu2, node0/gpu3 and 4 more} and {node1/gpu0, node1/gpu1, node1/gpu2, "
        "node1/gpu3 and 4 more}\n");
  // One direction only: the parts still hang together, but the way there is cut.
  const Cluster cluster = build(with(one_nic, LinkFault{"node0/nic0", "leaf0", LinkDirection::kOne, 0}));
  CHECK(cluster.route(rank(8), rank(0)).hops.size() == 4);
  CHECK(faults_of([&] { static_cast<void>(cluster.route(rank(0), rank(8))); }) ==
        "cluster.json#/faults: expected a way from node0/gpu0 to node1/gpu0, found none: node0/nic0 → leaf0 is dead\n");
  CatalogueCluster choice{"hgx-h200", 2};
  choice.faults.push_back(dead("node1/gpu2"));
  CHECK(faults_of([&] { load_cluster(choice, 16, {"s.json", "/cluster"}); }) ==
        "s.json#/cluster: expected live GPUs for 16 ranks, found rank 10 on node1/gpu2, which is dead\n");
  CHECK(load_cluster(choice, 10, {"s.json", "/cluster"}).gpus() == 16);
}

TEST_CASE("Faults of what is not there", "[topologies]") {
  CHECK(faults(with(with(eight_gpu_nodes(2), dead("node0/gpu9")), dead_link("node0/gpu0", "leaf0"))) ==
        "cluster.json#/faults/0/vertex/name: expected the name of a vertex, found \"node0/gpu9\"; did you mean "
        "\"node0/gpu0\"?\n"
        "cluster.json#/faults/1/link: expected two vertices with a link between them, found \"node0/gpu0\" and "
        "\"leaf0\"\n");
}

TEST_CASE("A torus goes round a dead link", "[topologies]") {
  ClusterConfig config;
  config.name = "ring";
  config.accelerator = "tpu-v5e";
  config.gpus_per_node = 6;
  config.scale_up.kind = ScaleUpKind::kTorus;
  config.scale_up.torus = Torus{{6}, std::nullopt};
  config = with(config, dead_link("node0/gpu1", "node0/gpu2"));
  const Cluster cluster = build(config);
  // 0 to 3 is a tie, of which one side is left; 0 to 2 has to go the long way.
  CHECK(hops(cluster, 0, 3) == Names{"node0/gpu0", "node0/gpu5", "node0/gpu4", "node0/gpu3"});
  CHECK(hops(cluster, 0, 2) == Names{"node0/gpu0", "node0/gpu5", "node0/gpu4", "node0/gpu3", "node0/gpu2"});
}

TEST_CASE("Any graph as JSON", "[topologies]") {
  const Cluster cluster = build(decode(graph(cable("a", "s") + "," + cable("s", "t") + "," + cable("b", "t") + "," +
                                             cable("s", "b", R"(, "direction": "one", "kind": "scale_up")"))));
  CHECK(cluster.gpus() == 2);
  CHECK(hops(cluster, 0, 1) == Names{"a", "s", "b"});
  CHECK(hops(cluster, 1, 0) == Names{"b", "t", "s", "a"});
  CHECK(cluster.route(rank(1), rank(0)).latency.base() == Approx(3e-6).epsilon(1e-12));
  const Json json = Codec<ClusterConfig>::encode(cluster.config());
  CHECK(Codec<ClusterConfig>::encode(decode_document<ClusterConfig>(Document::parse("again", json.dump()))) == json);
}

TEST_CASE("Weights decide which way is shorter", "[topologies]") {
  const Cluster cluster = build(decode(graph(cable("a", "s", R"(, "weight": 5)") + "," + cable("s", "b") + "," +
                                             cable("a", "t") + "," + cable("t", "b"))));
  CHECK(hops(cluster, 0, 1) == Names{"a", "t", "b"});
}

TEST_CASE("Faults in a graph", "[topologies]") {
  CHECK(faults(decode(graph(cable("a", "s") + "," + cable("b", "t")))) ==
        "cluster.json#/graph: expected a network that connects all GPUs, found two parts without a link between them: "
        "{a} and {b}\n");
  CHECK(faults(decode(graph(cable("a", "a")))) ==
        "cluster.json#/graph/links/0: expected two different vertices, found \"a\" twice\n");
  CHECK(faults(decode(graph(cable("a", "u")))) ==
        "cluster.json#/graph/links/0/to: expected the name of a vertex, found \"u\"; known: a, s, b, t\n");
  CHECK(faults(decode(R"({"vertices": [{"name": "gpu0", "kind": "gpu"}, {"name": "gpu0", "kind": "gpu"},
                                        {"name": "leaf0", "kind": "leaf"}], "links": []})")) ==
        "cluster.json#/graph/vertices/1/name: expected a name of its own, found \"gpu0\", which vertex 0 has too\n");
  CHECK(faults(decode(R"({"vertices": [{"name": "gpu0", "kind": "gpu"}, {"name": "leaf0", "kind": "leaf"}],
                          "links": [)" +
                      cable("gpu0", "laef0") + "]}")) ==
        "cluster.json#/graph/links/0/to: expected the name of a vertex, found \"laef0\"; did you mean \"leaf0\"?\n");
  CHECK(faults(decode(graph(cable("a", "s") + "," + cable("s", "b")), 3)) ==
        "cluster.json#/gpus_per_node: expected a divisor of the graph's 2 GPUs, found 3\n");
  const auto bandwidth = [](const std::string& figure) {
    return faults_of(
        [&] { decode(graph(R"({"from": "a", "to": "s", "bandwidth": ")" + figure + R"(", "latency": "1 us"})")); });
  };
  CHECK(bandwidth("0 GB/s") ==
        "graph.json#/graph/links/0/bandwidth: expected a bandwidth above zero, found \"0 GB/s\"\n");
  CHECK(bandwidth("-5 GB/s").find("graph.json#/graph/links/0/bandwidth: expected a bandwidth") == 0);
}

TEST_CASE("Settings that do not go together", "[topologies]") {
  ClusterConfig config = eight_gpu_nodes(2);
  config.routing.paths = PathChoice::kDimensionOrder;
  CHECK(faults(config) ==
        "cluster.json#/routing/paths: expected shortest, ecmp_hash or ecmp_spray, found dimension_order without a "
        "torus\n");
  config.routing.paths.reset();
  config.network->fabric = RailOnly{};
  config.routing.cross_rail = CrossRail::kNetwork;
  CHECK(faults(config) ==
        "cluster.json#/routing/cross_rail: expected nvlink, as rail_only has no other way between rails, found "
        "network\n");
  config = eight_gpu_nodes(1);
  config.scale_up.kind = ScaleUpKind::kTorus;
  CHECK(faults(config) == "cluster.json#/scale_up/torus: expected the shape of the torus, found none\n");
  config.network.reset();
  config.scale_up.torus = Torus{{3, 3}, std::nullopt};
  CHECK(faults(config) == "cluster.json#/scale_up/torus/shape: expected a product of gpus_per_node (8), found 3 × 3\n");
}
