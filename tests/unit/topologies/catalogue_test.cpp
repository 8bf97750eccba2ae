#include <algorithm>
#include <catch2/catch.hpp>

#include "models/hardware/hardware.hpp"
#include "sim/config/decode.hpp"
#include "sim/config/describe.hpp"
#include "sim/config/document.hpp"
#include "tests/unit/topologies/clusters.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

/// Pointers (without the leading slash) to every figure or name below `json`.
void collect_fields(const Json& json, const std::string& at, std::vector<std::string>& fields) {
  for (const auto& [key, value] : json.items()) {
    const std::string pointer = at.empty() ? key : at + "/" + key;
    if (pointer == "schema" || pointer == "name" || pointer == "sources" || pointer == "unverified") {
      continue;
    }
    if (value.is_object()) {
      collect_fields(value, pointer, fields);
    } else {
      fields.push_back(pointer);
    }
  }
}

Cluster load(std::string_view name, std::size_t ranks) {
  return load_cluster(ClusterName{std::string(name)}, ranks, {"scenario.json", "/cluster"});
}

}  // namespace

TEST_CASE("Every catalogue entry builds, bears its file's name and says where its figures come from", "[topologies]") {
  REQUIRE(cluster_catalogue().names().size() >= 19);
  for (const std::string_view name : cluster_catalogue().names()) {
    CAPTURE(name);
    const Document document = cluster_catalogue().find(name, {});
    const auto config = decode_document<ClusterConfig>(document);
    CHECK(config.name == name);
    CHECK_FALSE(config.nodes);
    REQUIRE(config.sources.contains("*"));

    std::vector<std::string> fields;
    collect_fields(Codec<ClusterConfig>::encode(load(name, 1).config()), "", fields);
    for (const auto& [field, source] : config.sources) {
      CAPTURE(field);
      CHECK((field == "*" || std::find(fields.begin(), fields.end(), field) != fields.end()));
      CHECK_FALSE(source.empty());
    }
    for (const std::string& field : config.unverified) {
      CAPTURE(field);
      CHECK(std::find(fields.begin(), fields.end(), field) != fields.end());
    }
    // Three nodes are a network (a torus is one node); any pair can talk.
    const std::size_t nodes = config.network ? 3 : 1;
    const Cluster cluster = load(name, nodes * config.gpus_per_node);
    CHECK(cluster.nodes() == nodes);
    CHECK_FALSE(cluster.route(rank(0), rank(cluster.gpus() - 1)).hops.empty());
  }
}

TEST_CASE("TPU pods: chips, links of a chip, and a slice by its shape", "[topologies]") {
  struct Row {
    std::string_view name;
    std::size_t chips;
    double link;  // B/s, each direction
  };
  // jax-ml/scaling-book tpus.md; v2: Google Cloud documents, remembered.
  const auto row = GENERATE(Row{"tpu-v2-pod", 256, 62e9}, Row{"tpu-v3-pod", 1024, 100e9}, Row{"tpu-v4-pod", 4096, 45e9},
                            Row{"tpu-v5e-pod", 256, 45e9}, Row{"tpu-v5p-pod", 8960, 90e9});
  CAPTURE(row.name);
  const Cluster pod = load(row.name, 1);
  CHECK(pod.gpus() == row.chips);
  CHECK(pod.links()[0].capacity.base() == Approx(row.link).epsilon(1e-12));

  const Cluster slice = load_cluster(
      CatalogueCluster{.name = "tpu-v4-pod", .nodes = std::nullopt, .shape = std::vector<std::size_t>{4, 4, 8}}, 128,
      {"scenario.json", "/cluster"});
  CHECK(slice.gpus() == 128);
  CHECK(slice.orbits(128));
  CHECK(faults_of([] {
          load_cluster(
              CatalogueCluster{.name = "hgx-h200", .nodes = std::nullopt, .shape = std::vector<std::size_t>{4}}, 4,
              {"s.json", "/c"});
        }) == "s.json#/c/catalogue/shape: expected a torus to go with a shape, found hgx-h200\n");
}

TEST_CASE("A slice of a pod wraps around where the pod does and is as long, or where switches join its ends") {
  const auto slice = [](const char* pod, std::vector<std::size_t> shape) {
    std::size_t chips = 1;
    for (const std::size_t size : shape) {
      chips *= size;
    }
    const CatalogueCluster choice{.name = pod, .nodes = std::nullopt, .shape = std::move(shape)};
    return load_cluster(choice, chips, {"s.json", "/c"});
  };
  // One hop from end to end where they are neighbours, 3 where they are not.
  const auto ends = [](const Cluster& cluster, std::size_t from, std::size_t to) {
    return cluster.route(rank(from), rank(to)).hops.size();
  };
  CHECK(ends(slice("tpu-v5e-pod", {4, 4}), 0, 3) == 3);    // of 16 x 16
  CHECK(ends(slice("tpu-v5e-pod", {4, 16}), 0, 15) == 1);  // the whole length of the second dimension
  CHECK(ends(slice("tpu-v4-pod", {4, 4, 4}), 0, 3) == 1);  // cubes of 4 are joined by optical switches
  CHECK(ends(slice("tpu-v4-pod", {2, 2, 2}), 0, 1) == 1);
  CHECK(ends(slice("tpu-v4-pod", {3, 3, 3}), 0, 2) == 2);
  CHECK(faults_of([&] { slice("tpu-v3-pod", {64, 64}); }) ==
        "s.json#/c/catalogue/shape: expected a part of tpu-v3-pod, which is 32 x 32, found 64 x 64\n");
  CHECK(faults_of([&] { slice("tpu-v5e-pod", {2, 2, 8}); }) ==
        "s.json#/c/catalogue/shape: expected a part of tpu-v5e-pod, which is 16 x 16, found 2 x 2 x 8\n");
}

TEST_CASE("The entries' bandwidths", "[topologies]") {
  struct Row {
    std::string_view name;
    std::size_t gpus_per_node;
    double scale_up;  // B/s, each direction
    double nic;       // B/s, each direction
  };
  // aiconfigurator systems/*.yaml; H800: NVLink cut to 400 GB/s in both directions; B200: data sheet's 400 Gb/s.
  const auto row = GENERATE(
      Row{"hgx-a100", 8, 300e9, 25e9}, Row{"hgx-h100", 8, 450e9, 50e9}, Row{"hgx-h200", 8, 450e9, 50e9},
      Row{"hgx-h800", 8, 200e9, 50e9}, Row{"hgx-h20", 8, 450e9, 50e9}, Row{"hgx-b200", 8, 900e9, 50e9},
      Row{"gb200-nvl72", 72, 900e9, 100e9}, Row{"gb300-nvl72", 72, 900e9, 100e9}, Row{"mi300x-8", 8, 448e9, 50e9},
      Row{"pcie-l40s", 8, 32e9, 50e9}, Row{"pcie-a100", 8, 32e9, 25e9}, Row{"alibaba-hpn", 8, 200e9, 50e9});
  CAPTURE(row.name);
  const Cluster cluster = load(row.name, 1);
  CHECK(cluster.gpus_per_node() == row.gpus_per_node);
  CHECK(cluster.config().scale_up.bandwidth->base() == Approx(row.scale_up).epsilon(1e-12));
  REQUIRE(cluster.nic() != nullptr);
  CHECK(cluster.nic()->bandwidth.base() == Approx(row.nic).epsilon(1e-12));
}
