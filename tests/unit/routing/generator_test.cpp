#include "workloads/routing/generator.hpp"

#include <cmath>
#include <map>
#include <set>

#include "sim/config/document.hpp"
#include "tests/unit/routing/fixture.hpp"
#include "workloads/routing/correlation.hpp"
#include "workloads/routing/fit.hpp"
#include "workloads/routing/statistics.hpp"
#include "workloads/routing/write_trace.hpp"

using namespace moesim;

namespace {

GeneratorParameters catalogued(std::string_view name) {
  return decode_generator(generator_catalogue().find(name, {"test", ""}));
}

StepRouting step_of(RoutingShape shape, std::vector<ExpertIndex> choices) {
  return {.shape = shape, .choices = std::move(choices), .warnings = {}};
}

double value_at(const std::vector<CorrelationStatistics::Entry>& entries, std::size_t distance) {
  for (const auto& entry : entries) {
    if (entry.distance == distance) {
      return entry.value;
    }
  }
  FAIL("no figure at a distance of " << distance);
  return 0.0;
}

double recorded_imbalance(const CountTrace& counts, std::size_t ranks) {
  for (const RankStatistics& entry : statistics(counts).ranks) {
    if (entry.ranks == ranks) {
      return entry.max_over_mean_mean;
    }
  }
  FAIL("no figure for " << ranks << " ranks");
  return 0.0;
}

}  // namespace

TEST_CASE("correlation: overlap is 1 between equal tokens and 0 between independent ones") {
  // One layer, k = 1, tokens alternate between experts 0 and 1: at distance 1 nothing in common, O = ½, so
  // (0 − ½)/(1 − ½) = −1; at distance 2 everything, 1.
  std::vector<ExpertIndex> choices;
  for (std::size_t i = 0; i < 200; ++i) {
    choices.push_back(static_cast<ExpertIndex>(i % 2));
  }
  const CorrelationStatistics alternating =
      correlation_statistics(step_of({.tokens = 200, .layers = 1, .k = 1, .experts = 2}, choices), {});
  CHECK(value_at(alternating.overlap, 1) == Approx(-1.0));
  CHECK(value_at(alternating.overlap, 2) == Approx(1.0));
  CHECK(alternating.association.empty());
  // With sequences of one token each there is no pair to look at.
  std::vector<std::size_t> starts(200);
  for (std::size_t i = 0; i < starts.size(); ++i) {
    starts[i] = i;
  }
  const CorrelationStatistics alone =
      correlation_statistics(step_of({.tokens = 200, .layers = 1, .k = 1, .experts = 2}, choices), starts);
  CHECK(value_at(alone.overlap, 2) == 0.0);
}

TEST_CASE("correlation: association of a layer with its copy") {
  // k = 1, E experts equally often: N_ee = T/E, else 0. Σ (N − T/E²)²/(T/E²) = T·(E − 1), less chance (E − 1)²:
  // Φ = (E − 1) − (E − 1)²/T. A layer that does not depend on the other: all N = T/E², Φ = −(E − 1)²/T.
  constexpr std::size_t kExperts = 4;
  constexpr std::size_t kTokens = 160;
  std::vector<ExpertIndex> choices;
  for (std::size_t layer = 0; layer < 3; ++layer) {
    for (std::size_t token = 0; token < kTokens; ++token) {
      choices.push_back(static_cast<ExpertIndex>(layer < 2 ? token % kExperts : token / kExperts % kExperts));
    }
  }
  const CorrelationStatistics result =
      correlation_statistics(step_of({.tokens = kTokens, .layers = 3, .k = 1, .experts = kExperts}, choices), {});
  const double chance = 9.0 / kTokens;
  // Distance 1: the mean of the copy and of the independent pair; distance 2: independent.
  CHECK(value_at(result.association, 1) == Approx(0.5 * (3.0 - chance) + 0.5 * (0.0 - chance)));
  CHECK(value_at(result.association, 2) == Approx(-chance));
}

TEST_CASE("generator: popularity has the spread that the parameters say") {
  GeneratorParameters parameters;
  parameters.name = "x";
  parameters.experts = 4096;
  parameters.experts_per_token = 1;
  parameters.spread = {0.5, 0.9};
  parameters.block_spread = {0.0, 0.0};
  for (const double skew : {0.0, 0.3, -0.3}) {
    parameters.skew = skew;
    const RoutingShape shape{.tokens = 0, .layers = 2, .k = 1, .experts = 4096};
    const std::vector<double> inclusion = draw_inclusion(parameters, shape, 1);
    for (std::size_t layer = 0; layer < 2; ++layer) {
      double sum = 0.0;
      double squares = 0.0;
      for (std::size_t e = 0; e < 4096; ++e) {
        const double log = std::log(inclusion[layer * 4096 + e]);
        sum += log / 4096.0;
        squares += log * log / 4096.0;
      }
      // A standard deviation over n values is known to 1/√(2n) = 1.1 %, a little less well when skewed.
      CHECK(std::sqrt(squares - sum * sum) == Approx(parameters.spread[layer]).epsilon(0.06));
    }
  }
}

TEST_CASE("generator: parameters of another model's depth and width serve any shape") {
  const GeneratorParameters parameters = catalogued("deepseek-v3-decode");
  for (const RoutingShape& shape :
       {RoutingShape{0, 94, 8, 128}, RoutingShape{0, 3, 2, 8}, RoutingShape{0, 26, 6, 60}}) {
    const std::vector<double> inclusion = draw_inclusion(parameters, shape, 1);
    REQUIRE(inclusion.size() == shape.layers * shape.experts);
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      double sum = 0.0;
      for (std::size_t e = 0; e < shape.experts; ++e) {
        const double p = inclusion[layer * shape.experts + e];
        CHECK(p >= 0.0);
        CHECK(p <= 1.0);
        sum += p;
      }
      CHECK(sum == Approx(static_cast<double>(shape.k)));
    }
  }
}

TEST_CASE("generator: correlation leaves popularity as it is") {
  const RoutingShape shape{.tokens = 0, .layers = 4, .k = 6, .experts = 64};
  const GeneratorParameters parameters = catalogued("deepseek-v2-lite");
  const std::vector<double> inclusion = draw_inclusion(parameters, shape, 3);
  const GeneratedSource source(shape, inclusion, parameters.correlation, {}, 3, "");
  constexpr std::size_t kTokens = 40000;
  const StepRouting step = source.draw(decode_batch(kTokens), 1, TaskPool(2));
  double deviation = 0.0;
  for (std::size_t layer = 0; layer < 4; ++layer) {
    std::vector<double> share(64, 0.0);
    for (const ExpertIndex expert : step.layer(layer)) {
      share[expert] += 1.0 / kTokens;
    }
    for (std::size_t e = 0; e < 64; ++e) {
      deviation += std::abs(share[e] - inclusion[layer * 64 + e]) / (4.0 * 6.0);
    }
  }
  // 85 points on the circle: an expert's stretch holds one more or less of them in each of six slots, some 10 % of its
  // load in the mean, and sampling adds 1 %.
  CHECK(deviation < 0.18);
  const GeneratedSource free = source.with(RoutingCorrelation{});
  const StepRouting independent = free.draw(decode_batch(kTokens), 1, TaskPool(2));
  for (const std::size_t ranks : {64U, 8U}) {
    CHECK(imbalance_over(step, ranks) == Approx(imbalance_over(independent, ranks)).epsilon(0.08));
  }
}

TEST_CASE("generator: distinct experts within the group limit, the same bytes on any number of threads") {
  const RoutingShape shape{.tokens = 0, .layers = 6, .k = 8, .experts = 256};
  const GeneratorParameters parameters = catalogued("deepseek-v3-prefill");
  const GeneratedSource source(shape, draw_inclusion(parameters, shape, 1), parameters.correlation, {8, 4}, 1, "");
  TokenBatch batch = decode_batch(200);
  append_run(batch, 500, 700);
  const StepRouting one = source.draw(batch, 2, TaskPool(1));
  CHECK(one.choices == source.draw(batch, 2, TaskPool(4)).choices);
  CHECK(one.choices != source.draw(batch, 3, TaskPool(1)).choices);
  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    for (std::size_t token = 0; token < batch.tokens.size(); ++token) {
      const auto row = one.token(layer, token);
      std::set<ExpertIndex> experts(row.begin(), row.end());
      std::set<int> groups;
      for (const ExpertIndex expert : row) {
        groups.insert(expert / 32);
      }
      REQUIRE(experts.size() == 8);
      REQUIRE(groups.size() <= 4);
    }
  }
}

TEST_CASE("generator: the parameters are read as they were written") {
  for (const std::string_view name : generator_catalogue().names()) {
    const GeneratorParameters parameters = catalogued(name);
    CHECK(parameters.name == name);
    REQUIRE(parameters.provenance);
    CHECK_FALSE(parameters.provenance->source.empty());
    CHECK_FALSE(parameters.provenance->licence.empty());
    const std::string text = encode_generator(parameters);
    CHECK(encode_generator(decode_generator(Document::parse("again", text))) == text);
    // What the fit says of itself: popularity to within 5 %.
    for (const FitCheck& check : parameters.provenance->checks) {
      if (check.quantity.starts_with("max/mean")) {
        CHECK(check.generated == Approx(check.recorded).epsilon(0.05));
      }
    }
  }
  CHECK(error_of([] {
          decode_generator(Document::parse("p.json", R"({"schema": "moesim.routing-generator/1", "name": "x",
            "experts": 8, "experts_per_token": 2, "spread": [0.5, 0.5], "block_spread": [0.1]})"));
        }) == "p.json#/block_spread: expected a figure for each of the 2 layers of spread, found 1");
}

TEST_CASE("fit: parameters that made counts are found again", "[slow]") {
  GeneratorParameters truth;
  truth.name = "truth";
  truth.experts = 256;
  truth.experts_per_token = 8;
  truth.spread = std::vector<double>(32, 0.5);
  truth.block_spread = std::vector<double>(32, 0.4);
  truth.blocks = 32;
  truth.block_correlation = 0.8;
  const RoutingShape shape{.tokens = 0, .layers = 32, .k = 8, .experts = 256};
  CountTrace counts{
      .layers = 32, .experts = 256, .counts = draw_inclusion(truth, shape, 5), .file_layers = {}, .name = "c"};
  for (double& count : counts.counts) {
    count *= 1e6;
  }
  FitOptions options{.name = "fitted"};
  options.k = 8;
  const GeneratorParameters fitted = fit_counts(counts, options);
  double spread = 0.0;
  double block_spread = 0.0;
  for (std::size_t layer = 0; layer < 32; ++layer) {
    spread += fitted.spread[layer] / 32.0;
    block_spread += fitted.block_spread[layer] / 32.0;
  }
  // 32 layers of 224 values within blocks and of some 7 independent stretches of blocks: 1 % and 6 % of the spreads;
  // the block spread is set by the imbalance of ranks, whose mean over 32 layers is known to about 6 %.
  CHECK(spread == Approx(0.5).epsilon(0.03));
  CHECK(block_spread == Approx(0.4).epsilon(0.25));
  CHECK(fitted.block_correlation == Approx(0.8).margin(0.1));
  CHECK(fitted.skew == Approx(0.0).margin(0.15));
  for (const FitCheck& check : fitted.provenance->checks) {
    CHECK(check.generated == Approx(check.recorded).epsilon(0.05));
  }
}

TEST_CASE("fit: counts need a k") {
  const CountTrace counts{.layers = 1, .experts = 2, .counts = {1, 2}, .file_layers = {0}, .name = "c.json"};
  CHECK(error_of([&] { fit_counts(counts, {.name = "x"}); }) ==
        "c.json: expected k beside counts, which do not tell it, found none");
}

TEST_CASE("fit: correlation that made tokens is found again", "[slow]") {
  const RoutingShape shape{.tokens = 0, .layers = 9, .k = 4, .experts = 32};
  const RoutingCorrelation truth{
      .shared = 0.8, .points_per_expert = 2.0, .turnover = 0.05, .repeat = 0.2, .topic = 0.3, .topic_tokens = 8.0};
  GeneratorParameters popularity;
  popularity.spread = std::vector<double>(9, 0.5);
  popularity.block_spread = std::vector<double>(9, 0.0);
  const GeneratedSource source(shape, draw_inclusion(popularity, shape, 2), truth, {}, 2, "");
  const TaskPool pool(2);
  const std::string file = npy_bytes(source.draw(batch_of(2000, {}), 1, pool));
  const TokenTrace trace = TokenTrace::from_bytes(bytes_of(file), "made.npy");
  const GeneratorParameters fitted = fit_tokens(trace, {.name = "fitted"}, pool);
  for (const FitCheck& check : fitted.provenance->checks) {
    if (check.quantity.starts_with("overlap")) {
      CHECK(check.generated == Approx(check.recorded).margin(0.03));
    } else if (check.quantity.starts_with("association")) {
      CHECK(check.generated == Approx(check.recorded).epsilon(0.15));
    }
  }
}

TEST_CASE("generator: loads of GPUs like the recorded ones, in the mean over layers and models", "[slow]") {
  MOESIM_NEEDS_RECORDINGS();
  const TaskPool pool(2);
  const auto check_like = [&](const std::string& name, const CountTrace& counts, GroupLimit limit) {
    const GeneratorParameters parameters = catalogued(name);
    const RoutingShape shape{
        .tokens = 0, .layers = counts.layers, .k = parameters.experts_per_token, .experts = counts.experts};
    constexpr std::size_t kModels = 2;
    std::map<std::size_t, double> generated;
    for (std::uint64_t model = 1; model <= kModels; ++model) {
      const GeneratedSource source(shape, draw_inclusion(parameters, shape, model), parameters.correlation, limit,
                                   model, "");
      const StepRouting step = source.draw(decode_batch(4096), model, pool);
      for (const std::size_t ranks : {counts.experts, std::size_t{8}, std::size_t{16}, std::size_t{32}}) {
        generated[ranks] += imbalance_over(step, ranks) / kModels;
      }
    }
    for (const auto& [ranks, imbalance] : generated) {
      INFO(name << ", " << ranks << " ranks");
      CHECK(imbalance == Approx(recorded_imbalance(counts, ranks)).epsilon(0.10));
    }
  };
  check_like("deepseek-v3-decode", read_counts(recordings() / "deepseek-v3/decode_in1000out1000.json"), {8, 4});
  check_like("deepseek-v3-prefill", read_counts(recordings() / "deepseek-v3/prefill_in2000out100.json"), {8, 4});
  check_like("deepseek-v2-lite", count(TokenTrace::open(recordings() / "deepseek-v2-lite/law_T8327_L26_K6_E64.u8")),
             {});
}

TEST_CASE("generator: sequences and layers hang together like the recorded ones") {
  MOESIM_NEEDS_RECORDINGS();
  const TaskPool pool(2);
  const TokenTrace trace = TokenTrace::open(recordings() / "deepseek-v2-lite/law_T8327_L26_K6_E64.u8");
  const GeneratorParameters parameters = catalogued("deepseek-v2-lite");
  RoutingShape shape = trace.shape();
  shape.tokens = 0;
  const GeneratedSource source(shape, draw_inclusion(parameters, shape, 4), parameters.correlation, {}, 4, "");
  const auto starts = trace.sequence_starts();
  const CorrelationStatistics recorded = correlation_statistics(whole_trace(trace), starts);
  const CorrelationStatistics generated =
      correlation_statistics(source.draw(batch_of(trace.shape().tokens, starts), 4, pool), starts);
  // Another imaginary model than the one fitted with: overlap within 0.03 of 1, association within 25 %.
  for (const auto& entry : recorded.overlap) {
    INFO("overlap at " << entry.distance);
    CHECK(value_at(generated.overlap, entry.distance) == Approx(entry.value).margin(0.03));
  }
  for (const auto& entry : recorded.association) {
    INFO("association at " << entry.distance);
    CHECK(value_at(generated.association, entry.distance) == Approx(entry.value).epsilon(0.25));
  }
}
