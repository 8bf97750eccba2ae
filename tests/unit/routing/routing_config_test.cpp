#include "workloads/routing/routing_config.hpp"

#include "sim/config/codec.hpp"
#include "sim/config/describe.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "tests/unit/routing/fixture.hpp"

using namespace moesim;

namespace {

const RoutingNeeds kNeeds{.moe_layers = 2, .all_layers = 3, .k = 2, .experts = 16};

RoutingConfig decode(std::string_view json) {
  const Document document = Document::parse("s.json", json);
  std::vector<Diagnostic> faults;
  RoutingConfig config;
  Codec<RoutingConfig>::decode(Cursor(document, faults), {}, config);
  if (!faults.empty()) {
    throw ConfigError(std::move(faults));
  }
  return config;
}

std::unique_ptr<RoutingSource> make(std::string_view json, const RoutingNeeds& needs = kNeeds) {
  return make_routing_source(decode(json), needs, {"s.json", "/routing"});
}

}  // namespace

TEST_CASE("routing config: each kind gives a source of the model's shape that says what it is") {
  const Folder folder("config");
  const auto counts = folder.write("c.json", R"({"logical_count": [[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],
    [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1], [2,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]]})");
  const auto trace =
      folder.write("t.npy", npy_with_header(npy_header("|u1", "1, 2, 2"), raw<std::uint8_t>({0, 1, 2, 3})));
  const std::vector<std::pair<std::string, std::string>> kinds = {
      {R"({"uniform": {}})", "drawn uniformly: every expert is as likely"},
      {R"({"balanced": {}})", "perfectly balanced: experts are dealt in turn"},
      {R"({"power_law": {"alpha": 1.01}})", "drawn from power-law loads, alpha = 1.01"},
      {R"({"counts": {"path": ")" + counts.string() + R"("}})", "drawn from the recorded counts of " + counts.string()},
      {R"({"trace": {"path": ")" + trace.string() + R"("}})", "recorded choices of 1 tokens in " + trace.string()},
      {R"({"generator": {"name": "deepseek-v2-lite"}})",
       "generated like deepseek-v2-lite (fitted on law_T8327_L26_K6_E64.u8); that model has 26 layers, 64 experts, k = "
       "6"}};
  for (const auto& [json, provenance] : kinds) {
    INFO(json);
    const auto source = make(json);
    CHECK(source->provenance() == provenance);
    const RoutingShape shape = source->shape();
    CHECK(shape.layers == 2);
    CHECK(shape.k == 2);
    CHECK(shape.experts == 16);
    const StepRouting step = source->draw(decode_batch(5), 1, TaskPool(1));
    CHECK(step.shape == RoutingShape{.tokens = 5, .layers = 2, .k = 2, .experts = 16});
    CHECK(step.choices.size() == 2 * 5 * 2);
    CHECK(source->recorded_counts().has_value() == json.starts_with(R"({"counts")"));
  }
}

TEST_CASE("routing config: faults") {
  CHECK(error_of([] { make(R"({"generator": {}})"); }) ==
        "s.json#/routing/generator: expected either \"name\" or \"file\", found neither");
  CHECK(
      error_of([] { make(R"({"generator": {"name": "deepseek-v3-decod"}})"); }) ==
      "s.json#/routing/generator/name: expected the name of a routing generator, found \"deepseek-v3-decod\"; did you "
      "mean \"deepseek-v3-decode\"?");
  CHECK(error_of([] { make(R"({"unifrom": {}})"); }) ==
        "s.json: expected one of the keys generator, trace, counts, uniform, balanced, power_law, router, found "
        "\"unifrom\"; "
        "did you mean \"uniform\"?");
  RoutingNeeds groups = kNeeds;
  groups.groups = 16;
  groups.groups_per_token = 1;
  CHECK(error_of([&] { make(R"({"uniform": {}})", groups); }) ==
        "s.json#/routing: expected 1 groups of 1 experts to hold the 2 experts of a token, found too few");
}
