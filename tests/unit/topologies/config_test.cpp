#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "sim/config/codec.hpp"
#include "sim/config/decode.hpp"
#include "sim/config/describe.hpp"
#include "sim/config/document.hpp"
#include "sim/core/quantity.hpp"
#include "tests/scratch.hpp"
#include "tests/unit/topologies/clusters.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

Cluster load(const ClusterChoice& choice, std::size_t ranks) {
  return load_cluster(choice, ranks, {"scenario.json", "/cluster"});
}

template <class T>
T decode(const std::string& text) {
  return decode_document<T>(Document::parse("test.json", text));
}

}  // namespace

TEST_CASE("Nodes without a network", "[topologies]") {
  ClusterConfig config = eight_gpu_nodes(4);
  config.network.reset();
  CHECK(faults(config) ==
        "cluster.json#/network: expected the key \"network\", which connects the 4 nodes, found none\n");
  config.nodes = 1;
  CHECK(faults(config).empty());
}

TEST_CASE("More GPUs than any cluster has", "[topologies]") {
  ClusterConfig config = eight_gpu_nodes(131073);
  CHECK(faults(config) == "cluster.json#/nodes: expected at most 1048576 GPUs in all, found 131073 nodes × 8 GPUs\n");
}

TEST_CASE("All faults are told at once", "[topologies]") {
  ClusterConfig config = eight_gpu_nodes(4);
  config.accelerator = "h200-smx";
  config.network->nic = "connectx-7-nrd";
  fabric_of(config).rails = 9;
  fabric_of(config).other_leaf_latency = seconds(1e-6);
  CHECK(faults(config) ==
        "cluster.json#/accelerator: expected the name of a accelerator, found \"h200-smx\"; did you mean "
        "\"h200-sxm\"?\n"
        "cluster.json#/network/nic: expected the name of a NIC, found \"connectx-7-nrd\"; did you mean "
        "\"connectx-7-ndr\"?\n"
        "cluster.json#/network/fabric/rail_leaf_spine/rails: expected at most 8 rails, as so many NICs of a node go "
        "separate ways, found 9\n"
        "cluster.json#/network/fabric/rail_leaf_spine/other_leaf_latency: expected at least same_leaf_latency "
        "(2.8 us), found 1 us\n");
}

TEST_CASE("NICs are shared or striped evenly", "[topologies]") {
  ClusterConfig config = eight_gpu_nodes(2);
  config.network->nics_per_node = 3;
  CHECK(faults(config) ==
        "cluster.json#/network/nics_per_node: expected a divisor or a multiple of gpus_per_node (8), found 3\n");
}

TEST_CASE("An accelerator without scale-up links needs a bandwidth", "[topologies]") {
  ClusterConfig config = eight_gpu_nodes(1);
  config.accelerator = "a100-pcie-80gb";
  CHECK(faults(config).find("cluster.json#/scale_up/bandwidth: expected a bandwidth, as ") == 0);
  config.scale_up.bandwidth = bytes_per_second(32e9);
  CHECK(faults(config).empty());
  config.scale_up.bandwidth.reset();
  config.gpus_per_node = 1;
  CHECK(faults(config).empty());
}

TEST_CASE("Capacities are above zero", "[topologies]") {
  const auto text = [](const std::string& bandwidth, const std::string& oversubscription) {
    return R"({"schema": "moesim.cluster/1", "name": "x", "accelerator": "h200-sxm", "gpus_per_node": 8, "nodes": 2,
               "scale_up": {"bandwidth": ")" +
           bandwidth +
           R"("}, "network": {"nic": "connectx-7-ndr", "fabric": {"rail_leaf_spine": {"oversubscription": )" +
           oversubscription + "}}}}";
  };
  CHECK(faults_of([&] { decode<ClusterConfig>(text("450 GB/s", "1.5")); }).empty());
  const std::string found = faults_of([&] { decode<ClusterConfig>(text("0 GB/s", "0.5")); });
  CHECK(found.find("#/scale_up/bandwidth: ") != std::string::npos);
  CHECK(found.find("#/network/fabric/rail_leaf_spine/oversubscription: ") != std::string::npos);
}

TEST_CASE("The resolved configuration reads back as itself", "[topologies]") {
  ClusterConfig config = eight_gpu_nodes(4);
  fabric_of(config).oversubscription = 1.5;
  const Cluster cluster = build(config);
  CHECK(cluster.config().scale_up.bandwidth == bytes_per_second(450e9));
  CHECK(cluster.config().network->host_bandwidth == bytes_per_second(64e9));
  CHECK(cluster.config().network->nics_per_node == 8);
  const Json json = Codec<ClusterConfig>::encode(cluster.config());
  const ClusterConfig again = decode<ClusterConfig>(json.dump());
  CHECK(Codec<ClusterConfig>::encode(again) == json);
  CHECK(Codec<ClusterConfig>::encode(build(again).config()) == json);
}

TEST_CASE("A cluster is chosen by name, by name and nodes, or by file", "[topologies]") {
  const auto chosen = [](const std::string& text, std::size_t ranks) {
    return load(decode<ClusterChoice>(text), ranks);
  };
  // A whole number of nodes of 8.
  CHECK(chosen("\"hgx-h200\"", 1).nodes() == 1);
  CHECK(chosen("\"hgx-h200\"", 8).nodes() == 1);
  CHECK(chosen("\"hgx-h200\"", 9).nodes() == 2);
  CHECK(chosen("\"hgx-h200\"", 64).gpus() == 64);
  CHECK(chosen(R"({"catalogue": {"name": "hgx-h200", "nodes": 4}})", 9).nodes() == 4);
  CHECK(chosen(R"({"catalogue": {"name": "hgx-h200"}})", 9).nodes() == 2);

  const std::filesystem::path path = moesim::test::scratch_path("moesim_topologies_test_cluster.json");
  std::ofstream(path) << Codec<ClusterConfig>::encode(eight_gpu_nodes(3));
  const Json file = {{"file", path.string()}};
  CHECK(chosen(file.dump(), 9).nodes() == 3);
  CHECK(faults_of([&] { chosen(file.dump(), 25); }) ==
        "scenario.json#/cluster: expected at most 24 ranks (3 nodes × 8 GPUs of test), found 25\n");
  std::filesystem::remove(path);
}

TEST_CASE("More ranks than GPUs", "[topologies]") {
  CHECK(faults_of([] { load(CatalogueCluster{"hgx-h200", 4}, 64); }) ==
        "scenario.json#/cluster: expected at most 32 ranks (4 nodes × 8 GPUs of hgx-h200), found 64\n");
  CHECK(faults_of([] { load(CatalogueCluster{"hgx-h200", 1}, 9); }) ==
        "scenario.json#/cluster: expected at most 8 ranks (1 node × 8 GPUs of hgx-h200), found 9\n");
  CHECK(faults_of([] { load(CatalogueCluster{"hgx-h200", 4}, 32); }).empty());
}

TEST_CASE("An unknown cluster", "[topologies]") {
  CHECK(faults_of([] { load(ClusterName{"hgx-h20O"}, 8); }) ==
        "scenario.json#/cluster: expected the name of a cluster, found \"hgx-h20O\"; did you mean \"hgx-h20\"?\n");
  CHECK(faults_of([] {
          load(CatalogueCluster{"hgx-h300", 4}, 8);
        }).find("scenario.json#/cluster/catalogue/name: expected the name of a cluster") == 0);
  CHECK(faults_of([] { load(CatalogueCluster{"hgx-h200", 1u << 20}, 8); }) ==
        "scenario.json#/cluster/catalogue/nodes: expected at most 1048576 GPUs in all, found 1048576 nodes × 8 "
        "GPUs\n");
}
