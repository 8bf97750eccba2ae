#include "tests/unit/config/schema_agreement.hpp"

#include "models/architecture/architecture.hpp"
#include "models/hardware/hardware.hpp"
#include "models/kernels/profile.hpp"
#include "sim/config/catalogue.hpp"
#include "sim/config/decode.hpp"
#include "sim/config/document.hpp"
#include "sim/planning/placement_config.hpp"
#include "sim/scenario/scenario.hpp"
#include "tests/unit/config/sample.hpp"
#include "topologies/cluster_config.hpp"
#include "workloads/routing/generator.hpp"

using namespace moesim;

// A new kind of file is one more line in the middle of this file, and its library in tests/unit/config.cmake.

namespace {

std::vector<Json> examples_of(const Catalogue& catalogue) {
  std::vector<Json> examples;
  for (const std::string_view name : catalogue.names()) {
    examples.push_back(catalogue.find(name, {}).root());
  }
  return examples;
}

}  // namespace

TEST_CASE("schema and decoder agree on a struct with a field of every kind") {
  check_agreement<sample::Sample>("sample", {Json::parse(sample::kFull), Json::parse(sample::kLeast)}, 8000);
}
TEST_CASE("schema and decoder agree on models") {
  check_agreement<Architecture>("model", examples_of(model_catalogue()), 2000);
}
TEST_CASE("schema and decoder agree on accelerators") {
  check_agreement<Accelerator>("accelerator", examples_of(accelerator_catalogue()), 2000);
}
TEST_CASE("schema and decoder agree on network interfaces") {
  check_agreement<Nic>("nic", examples_of(nic_catalogue()));
}
TEST_CASE("schema and decoder agree on clusters") {
  check_agreement<ClusterConfig>("cluster", examples_of(cluster_catalogue()), 2000);
}
/// With at most two elements of each array: a table of thirty measured points says no more than one of two.
Json brief(Json json) {
  if (json.is_array() && json.size() > 2) {
    json.erase(json.begin() + 2, json.end());
  }
  if (json.is_structured()) {
    for (Json& child : json) {
      child = brief(std::move(child));
    }
  }
  return json;
}
TEST_CASE("schema and decoder agree on profiles of kernel cost") {
  std::vector<Json> examples = examples_of(profile_catalogue());
  std::transform(examples.begin(), examples.end(), examples.begin(), brief);
  check_agreement<RooflineProfile>("profile", examples, 2000);
}
TEST_CASE("schema and decoder agree on generators of routing") {
  check_agreement<GeneratorParameters>("generator", examples_of(generator_catalogue()), 2000);
}
TEST_CASE("schema and decoder agree on scenarios") {
  check_agreement<Scenario>("scenario", examples_of(scenario_catalogue()), 4000);
}

TEST_CASE("schema and decoder agree on comparisons of placements") {
  check_agreement<PlacementComparisonConfig>("comparison", examples_of(comparison_catalogue()), 2000);
}

TEST_CASE("defaults that a schema shows are ones that it accepts") {
  const Json schema = document_schema<sample::Sample>("sample");
  int defaults = 0;
  for (const auto& [key, property] : schema["properties"].items()) {
    if (property.contains("default")) {
      CAPTURE(key);
      CHECK(SchemaJudge(property).accepts(property["default"]));
      ++defaults;
    }
  }
  CHECK(defaults == 17);  // of 24 fields all but the tag, four required and two that may be absent
}

TEST_CASE("the judge tells right from wrong") {
  // Against a judge that says yes to everything: schemas whose answers are plain.
  SchemaJudge judge(Json::parse(R"({"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}},
                                          "required": ["a"], "additionalProperties": false})"));
  CHECK(judge.accepts({{"a", 1}}));
  CHECK_FALSE(judge.accepts({{"a", 0}}));
  CHECK_FALSE(judge.accepts({{"a", 1.5}}));
  CHECK_FALSE(judge.accepts({{"a", 1}, {"b", 1}}));
  CHECK_FALSE(judge.accepts(Json::object()));
}
