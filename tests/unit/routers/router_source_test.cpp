#include "workloads/routing/routers/router_source.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "sim/config/decode.hpp"
#include "tests/unit/routers/fixture.hpp"
#include "tests/unit/routing/fixture.hpp"
#include "workloads/routing/routers/router_routing.hpp"
#include "workloads/routing/routers/write_choices.hpp"
#include "workloads/routing/token_trace.hpp"

using namespace moesim;

namespace {

RouterRouting decode_routing(const std::string& json) {
  return decode_document<RouterRouting>(Document::parse("s.json", json));
}

const RoutingNeeds kNeeds{.moe_layers = 3, .all_layers = 3, .k = 2, .experts = 16};
const std::string kText = R"("tokens": {"vocabulary": 300, "topics": 4, "width": 8})";

StepRouting draw(const std::string& json, const TokenBatch& batch, std::size_t threads = 1,
                 const RoutingNeeds& needs = kNeeds) {
  const TaskPool pool(threads);
  return make_router(decode_routing(json), needs, {"s.json", ""}, pool).source->draw(batch, 7, pool);
}

TokenBatch prompts(std::uint32_t count, std::uint32_t length) {
  TokenBatch batch;
  for (std::uint32_t s = 0; s < count; ++s) {
    append_run(batch, s, length);
  }
  return batch;
}

std::string floats(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

}  // namespace

TEST_CASE("router source: every router routes a step, the same with any number of threads") {
  for (const RouterEntry& entry : router_entries()) {
    CAPTURE(entry.name);
    std::string options = "{}";
    if (entry.name == "deepseek-v2") {
      options = R"({"devices": 4})";
    }
    const std::string json = R"({"gate": {")" + std::string(entry.name) + R"(": )" + options + "}, " + kText + "}";
    const TokenBatch batch = prompts(3, 211);
    const StepRouting step = draw(json, batch);
    CHECK(step.shape.tokens == batch.tokens.size());
    CHECK(step.shape.layers == 3);
    CHECK(step.choices.size() == step.shape.tokens * 3 * step.shape.k);
    CHECK(draw(json, batch, 3).choices == step.choices);
    REQUIRE(step.router.has_value());
    for (std::size_t layer = 0; layer < 3; ++layer) {
      const auto choices = step.layer(layer);
      const auto filled = static_cast<std::size_t>(
          std::count_if(choices.begin(), choices.end(), [](ExpertIndex e) { return e != kNoExpert; }));
      const RoutedLayerCounts& counts = step.router->layers[layer];
      CHECK(filled + counts.dropped == counts.choices);
      std::size_t unserved = 0;
      for (std::size_t t = 0; t < step.shape.tokens; ++t) {
        const auto token = step.token(layer, t);
        unserved += std::all_of(token.begin(), token.end(), [](ExpertIndex e) { return e == kNoExpert; }) ? 1 : 0;
      }
      CHECK(unserved == counts.unserved_tokens);
    }
  }
}

TEST_CASE("router source: buffers are per group, the last one shorter") {
  const StepRouting step =
      draw(R"({"gate": {"switch": {"group_tokens": 100, "capacity_factor": 1}}, )" + kText + "}", prompts(5, 50));
  REQUIRE(step.router->buffers.has_value());
  CHECK(step.router->buffers->group_tokens == 100);
  // round(100/16) = 6, round(50/16) = 3 but at least 4.
  CHECK(step.router->buffers->rows == std::vector<std::uint32_t>{6, 6, 4});
  for (std::size_t group = 0; group < 3; ++group) {
    std::vector<std::size_t> used(16, 0);
    for (std::size_t t = group * 100; t < std::min<std::size_t>(250, group * 100 + 100); ++t) {
      if (step.token(1, t)[0] != kNoExpert) {
        ++used[step.token(1, t)[0]];
      }
    }
    CHECK(*std::max_element(used.begin(), used.end()) == step.router->buffers->rows[group]);
  }
  CHECK_FALSE(draw(R"({"gate": "mixtral", )" + kText + "}", prompts(1, 10)).router->buffers.has_value());
}

TEST_CASE("router source: the model's router and capacity factor are used where none is named") {
  RoutingNeeds needs = kNeeds;
  needs.router = "switch-top-1";
  needs.capacity_factor = 4.0;
  const TaskPool pool(1);
  const MadeRouter made = make_router(decode_routing("{" + kText + "}"), needs, {"s.json", ""}, pool);
  CHECK(made.source->provenance() == "routed by switch, scores of a token model of 300 words and 4 topics");
  const StepRouting step = made.source->draw(prompts(1, 400), 1, pool);
  CHECK(step.router->buffers->rows == std::vector<std::uint32_t>{100});  // 4·400/16
  CHECK(error_of([&] { draw("{}", prompts(1, 4)); }) ==
        "s.json: expected the key \"gate\", since there is no model that says its router; found none");
}

TEST_CASE("router source: scores of a file are routed as they stand") {
  const Folder folder("router-scores");
  // Two tokens, one layer, three experts.
  const auto path = folder.write(
      "s.npy", npy_with_header(npy_header("<f4", "2, 1, 3"), floats({0.0F, 2.0F, 1.0F, 5.0F, 4.0F, -1.0F})));
  const RoutingNeeds needs{.moe_layers = 1, .all_layers = 1, .k = 2, .experts = 3};
  const std::string json = R"({"gate": "mixtral", "scores": ")" + path.string() + R"("})";
  const StepRouting step = draw(json, decode_batch(3), 1, needs);
  CHECK(step.choices == std::vector<ExpertIndex>{1, 2, 0, 1, 1, 2});
  REQUIRE(step.warnings.size() == 1);
  CHECK(step.warnings[0] ==
        path.string() + ": the step has 3 tokens and the file scores of 2; a token's scores are used up to 2 times");
  CHECK(draw(json, decode_batch(2), 1, needs).warnings.empty());
}

TEST_CASE("router source: files of scores that will not do") {
  const Folder folder("router-scores-bad");
  const RoutingNeeds needs{.moe_layers = 1, .all_layers = 1, .k = 1, .experts = 2};
  const auto fault = [&](const std::string& bytes) {
    const auto path = folder.write("s.npy", bytes);
    const std::string text = error_of(
        [&] { draw(R"({"gate": "mixtral", "scores": ")" + path.string() + R"("})", decode_batch(1), 1, needs); });
    return text.starts_with(path.string()) ? text.substr(path.string().size()) : text;
  };
  CHECK(fault(npy_with_header(npy_header("<i4", "1, 2"), raw<std::int32_t>({1, 2}))) ==
        ": expected scores of type float32 or float64, found int32");
  CHECK(fault(npy_with_header(npy_header("<f4", "2,"), floats({1.0F, 2.0F}))) ==
        ": expected scores [tokens, layers, experts] or [tokens, experts], found the shape [2]");
  CHECK(fault(npy_with_header(npy_header("<f4", "1, 3"), floats({1.0F, 2.0F, 3.0F}))) ==
        ": expected scores of 1 layers and 2 experts, found 1 and 3");
  CHECK(fault(npy_with_header(npy_header("<f4", "0, 2"), "")) ==
        ": expected scores of at least one token, layer and expert, found the shape [0, 2]");
  CHECK(fault(npy_with_header(npy_header("<f4", "1, 2"), floats({1.0F, std::nanf("")}))) ==
        ": expected finite scores, found nan for token 0, layer 0, expert 1");
  const std::string halves = [] {
    const std::vector<double> values{0.5, 0.25};
    return std::string(reinterpret_cast<const char*>(values.data()), 16);
  }();
  CHECK(fault(npy_with_header(npy_header("<f8", "1, 2"), halves)) == "nothing");
}

TEST_CASE("router source: training happens before, on the token model's text only") {
  const TaskPool pool(1);
  const std::string training = R"("training": {"steps": 3, "batch_tokens": 64})";
  const MadeRouter made = make_router(decode_routing(R"({"gate": "switch", )" + kText + ", " + training + "}"), kNeeds,
                                      {"s.json", ""}, pool);
  REQUIRE(made.training.has_value());
  CHECK(made.training->records.size() == 9);
  CHECK(made.source->provenance() ==
        "routed by switch, scores of a token model of 300 words and 4 topics, trained for 3 steps");
  CHECK(error_of([&] { draw(R"({"gate": "switch", "scores": "x.npy", )" + training + "}", prompts(1, 4)); }) ==
        "s.json: expected either \"scores\" or \"training\", which needs the token model; found both");
}

TEST_CASE("router source: files of choices say -1 where a slot is empty") {
  StepRouting step;
  step.shape = {.tokens = 2, .layers = 1, .k = 2, .experts = 300};
  step.choices = {7, kNoExpert, 299, 0};
  const std::string bytes = npy_of_choices(step);
  CHECK(bytes.size() % 64 == 8);  // four int16 behind a head that ends at a multiple of 64
  CHECK(bytes.find("'descr': '<i2'") != std::string::npos);
  CHECK(bytes.find("'shape': (2, 1, 2)") != std::string::npos);
  CHECK(bytes.substr(bytes.size() - 8) == raw<std::int16_t>({7, -1, 299, 0}));
  step.choices[1] = 8;
  const std::string full = npy_of_choices(step);
  CHECK(TokenTrace::from_bytes(bytes_of(full), "t.npy").shape() ==
        RoutingShape{.tokens = 2, .layers = 1, .k = 2, .experts = 300});
}
