#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>
#include <string>
#include <variant>
#include <vector>

#include "scenarios.hpp"
#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "sim/report/result_json.hpp"
#include "sim/report/step_table.hpp"
#include "tests/scratch.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

constexpr std::int64_t kRanks = 16;
constexpr std::int64_t kSequences = 12;  ///< of a rank
constexpr std::int64_t kContext = 1000;
constexpr std::int64_t kTopK = 8;
constexpr std::size_t kLayers = 3;

/// Three layers of OLMoE (top-8 of 64 experts), and so many modules of multi-token prediction.
std::string model_with(int modules) {
  const std::string path = scratch_path("olmoe-" + std::to_string(modules) + ".json").string();
  write_file(path, R"({"schema": "moesim.model/1", "name": "small", "hidden": 2048, "vocabulary": 50304,
    "blocks": {"moe": {"mixer": {"grouped_query": {"heads": 16, "kv_heads": 4, "head_dim": 128}},
                       "feed_forward": {"moe": {"experts": 64, "experts_per_token": 8, "intermediate": 1024}}}},
    "layers": [{"pattern": ["moe"], "repeat": 3}], "multi_token_prediction_layers": )" +
                       std::to_string(modules) + "}");
  return R"(/model={"file": ")" + path + R"("})";
}

std::string drafting(int drafts, const std::string& acceptance = "0.8") {
  return R"(/step/decode/speculative={"draft_tokens": )" + std::to_string(drafts) + R"(, "acceptance": )" + acceptance +
         "}";
}

Scenario scenario_with(const std::vector<std::string>& more) {
  Document document = Document::parse("scenario", kTwoNodes);
  document.set(model_with(1));
  document.set("/step/decode/sequences_per_dp_rank=12");
  document.set("/step/decode/context=1000");
  for (const std::string& assignment : more) {
    document.set(assignment);
  }
  return decode_document<Scenario>(document);
}

StepResult run_with(const std::vector<std::string>& more) {
  return run_step(scenario_with(more), {"scenario", ""}, TaskPool(1));
}

std::string refusal(const std::vector<std::string>& more) {
  try {
    static_cast<void>(run_with(more));
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

/// The step's program, as run_step lays it out.
StepProgram program_of(const std::vector<std::string>& more) {
  const PreparedStep step = prepare_step(scenario_with(more), {"scenario", ""});
  const auto costs = make_cost_model(step.profile, step.cluster.accelerator());
  const StepRouting routing = step.routing->draw(token_batch(step), step.scenario.seed, TaskPool(1));
  StepPlan plan = step_plan(step, *costs);
  plan.routing = &routing;
  return build_step(plan, TaskPool(1));
}

/// Kernels of one kind that rank 0 runs in a stage.
template <class K>
std::vector<K> kernels_in(const StepProgram& built, std::size_t stage) {
  std::vector<K> found;
  for (const Instruction& instruction : built.program.ranks[0]) {
    const auto* run = std::get_if<RunKernel>(&instruction);
    if (run != nullptr && run->stage == stage) {
      if (const auto* kernel = std::get_if<K>(&built.program.kernels[run->kernel])) {
        found.push_back(*kernel);
      }
    }
  }
  return found;
}

/// Rows of all ranks' experts in a stage.
std::int64_t rows_in(const StepProgram& built, std::size_t stage) {
  std::int64_t rows = 0;
  for (const auto& stream : built.program.ranks) {
    for (const Instruction& instruction : stream) {
      const auto* run = std::get_if<RunKernel>(&instruction);
      if (run != nullptr && run->stage == stage) {
        if (const auto* experts = std::get_if<Experts>(&built.program.kernels[run->kernel])) {
          rows = std::accumulate(experts->rows.begin(), experts->rows.end(), rows);
        }
      }
    }
  }
  return rows;
}

SpeculativeDecoding speculative(int drafts, Acceptance acceptance) { return {drafts, std::move(acceptance)}; }

}  // namespace

// Leviathan et al. 2023, equation 1: (1 − a^(d+1))/(1 − a). By position: 1 + a1 + a1·a2 + a1·a2·a3.
TEST_CASE("expected tokens of a step are those of the closed form") {
  for (const int drafts : {0, 1, 2, 5, 16}) {
    for (const double a : {0.0, 0.3, 0.85, 0.999}) {
      CHECK(tokens_per_step(speculative(drafts, {a})) ==
            Approx((1.0 - std::pow(a, drafts + 1)) / (1.0 - a)).epsilon(1e-12));
    }
    CHECK(tokens_per_step(speculative(drafts, {1.0})) == 1.0 + drafts);
  }
  CHECK(tokens_per_step(speculative(3, {std::vector<double>{0.9, 0.5, 0.2}})) ==
        Approx(1.0 + 0.9 + 0.9 * 0.5 + 0.9 * 0.5 * 0.2).epsilon(1e-15));
  for (const double a : {0.0, 0.42, 0.7, 1.0}) {
    CHECK(acceptance_for(tokens_per_step(speculative(3, {a})), 3) == Approx(a).margin(1e-12));
  }
}

TEST_CASE("no drafts are a step as ever") {
  const StepResult plain = run_with({});
  const StepResult none = run_with({drafting(0)});
  CHECK(step_table(plain) == step_table(none));
  Json one = step_result_json(plain, "run");
  Json other = step_result_json(none, "run");
  CHECK(other["scenario"]["step"]["decode"].erase("speculative") == 1);
  CHECK(one.dump() == other.dump());
}

// A rank's 12 sequences with 2 drafts are 36 tokens: products of 36 rows, 36·16·8 rows of experts in each layer, and
// attention of 3 queries over 1002 keys.
TEST_CASE("the model verifies every draft beside the first token") {
  const int drafts = 2;
  const std::int64_t verified = 1 + drafts;
  const StepProgram built = program_of({drafting(drafts)});
  const StepProgram plain = program_of({});
  for (std::size_t stage = 1; stage <= kLayers; ++stage) {
    CHECK(rows_in(built, stage) == kRanks * kSequences * verified * kTopK);
    CHECK(rows_in(plain, stage) == kRanks * kSequences * kTopK);
    const auto wide = kernels_in<Gemm>(built, stage);
    const auto narrow = kernels_in<Gemm>(plain, stage);
    REQUIRE(wide.size() == narrow.size());
    for (std::size_t i = 0; i < wide.size(); ++i) {
      Gemm expected = narrow[i];
      expected.m *= verified;
      CHECK(wide[i] == expected);
    }
    const auto attention = kernels_in<GenerationAttention>(built, stage);
    REQUIRE(attention.size() == 1);
    CHECK(attention[0].sequences == kSequences);
    CHECK(attention[0].query == verified);
    CHECK(attention[0].keys == kContext + drafts);
  }
  for (const LayerTraffic& layer : built.traffic.front()) {
    CHECK(std::accumulate(layer.copies.begin(), layer.copies.end(), std::int64_t{0}) ==
          kRanks * kSequences * verified * kTopK);
  }
  // The head: logits of all that were verified.
  const auto logits = kernels_in<Gemm>(built, kLayers + 1);
  REQUIRE(logits.size() == 1);
  CHECK(logits[0].m == kSequences * verified);
}

// The first pass takes all 3 verified tokens of each sequence, the second the one drafted last; each has the projection
// of both inputs, a layer with its dispatch and combine, and the head over one token of each sequence.
TEST_CASE("drafts come from passes of a module, one after the other") {
  const StepProgram built = program_of({drafting(2)});
  REQUIRE(built.program.stages == kLayers + 4);
  for (const std::size_t pass : {0, 1}) {
    INFO("pass " << pass);
    const std::size_t stage = kLayers + 2 + pass;
    const std::int64_t tokens = kSequences * (pass == 0 ? 3 : 1);
    CHECK(rows_in(built, stage) == kRanks * tokens * kTopK);
    const auto gemms = kernels_in<Gemm>(built, stage);
    REQUIRE(gemms.size() == kernels_in<Gemm>(built, 1).size() + 2);
    CHECK(gemms.front() == Gemm{.m = tokens, .n = 2048, .k = 4096});
    CHECK(gemms.back().m == kSequences);
    CHECK(gemms.back().n == 50304);
    const auto attention = kernels_in<GenerationAttention>(built, stage);
    REQUIRE(attention.size() == 1);
    CHECK(attention[0].query == (pass == 0 ? 3 : 1));
    CHECK(attention[0].keys == kContext + 2 + static_cast<std::int64_t>(pass));
    std::size_t exchanges = 0;
    for (const Exchange& exchange : built.program.exchanges) {
      exchanges += exchange.stage == stage ? 1 : 0;
    }
    CHECK(exchanges == 2);
  }
  CHECK(program_of({drafting(7)}).program.stages == kLayers + 2 + 7);
}

TEST_CASE("tokens that are accepted count, and all time is attributed") {
  for (const char* dispatch : {"deepep-low-latency", "deepep-normal", "all-gather"}) {
    const std::string protocol = std::string(R"(/dispatch={"protocol": ")") + dispatch + "\"}";
    const StepResult result = run_with({drafting(3, "[0.9, 0.8, 0.5]"), protocol});
    const double expected = 1.0 + 0.9 + 0.72 + 0.36;
    double rate = 0.0;
    double each = 0.0;
    for (const Metric& metric : step_metrics(result)) {
      rate = metric.name == "tokens_per_second" ? metric.value : rate;
      each = metric.name == "time_per_output_token" ? metric.value : each;
    }
    CHECK(rate == Approx(kRanks * kSequences * expected / step_time(result)).epsilon(1e-12));
    CHECK(each == Approx(step_time(result) / expected).epsilon(1e-12));
    std::int64_t ticks = 0;
    for (const SimTime part : attribution(result.execution)) {
      ticks += part.ticks();
    }
    CHECK(ticks == result.execution.end.ticks());
    double operators = 0.0;
    for (const OperatorTime& time : operator_times(result.execution, result.layers)) {
      operators += time.time.base();
    }
    CHECK(operators == Approx(step_time(result)).epsilon(1e-9));
    CHECK(draft_time(result) > Duration{});
    CHECK(draft_time(result).base() < 0.6 * step_time(result));  // three passes of one layer, beside three layers
  }
}

// How many are accepted changes what a step is worth, not how long it takes.
TEST_CASE("acceptance does not change a step's time") {
  CHECK(run_with({drafting(2, "0.1")}).execution.end == run_with({drafting(2, "1")}).execution.end);
  CHECK(run_with({drafting(1)}).execution.end < run_with({drafting(2)}).execution.end);
}

TEST_CASE("micro-batches verify the same tokens, and draft them whole") {
  const std::string normal = R"(/dispatch={"protocol": "deepep-normal"})";
  const StepResult whole = run_with({drafting(2), normal});
  const StepResult split = run_with({drafting(2), normal, "/step/decode/micro_batches=2"});
  CHECK(split.execution.bytes_inter_node == Approx(whole.execution.bytes_inter_node).epsilon(1e-9));
  CHECK(split.execution.bytes_intra_node == Approx(whole.execution.bytes_intra_node).epsilon(1e-9));
  CHECK(split.new_tokens == whole.new_tokens);
  for (const Segment& segment : split.execution.timeline.front()) {
    CHECK((segment.stage <= kLayers + 1 || segment.micro_batch == 0));
  }
  CHECK(refusal({drafting(2), normal, "/step/decode/micro_batches=2", "/step/decode/sequences_per_dp_rank=1"}) ==
        "scenario#/step/decode/micro_batches: expected 1, since a data-parallel rank has a single sequence; found 2");
}

// Two modules share three passes; memory has both, with a layer's cache each.
TEST_CASE("memory has the modules that draft, their cache and what verifies") {
  const auto fullest = [](int modules, const std::string& more) {
    return run_with({model_with(modules), more}).memory.front();
  };
  const std::string none = drafting(0);
  const MemoryFootprint plain = fullest(2, none);
  const MemoryFootprint one = fullest(2, drafting(1));
  const MemoryFootprint two = fullest(2, drafting(3));
  // A module on one of 16 ranks: attention (2·16 + 2·4)·128·2048, router 2048·64, four experts of 3·2048·1024, the
  // projection 2·2048², five norms of 2048, all of 2 B.
  const double module =
      2.0 * (40.0 * 128 * 2048 + 2048.0 * 64 + 4 * 3.0 * 2048 * 1024 + 2.0 * 2048 * 2048 + 5 * 2048.0);
  CHECK(plain.draft_modules == Bytes{});
  CHECK(one.draft_modules.base() == module);
  CHECK(two.draft_modules.base() == 2 * module);
  CHECK(one.expert_weights == plain.expert_weights);
  // 2 kv · 4 heads · 128 · 2 B a token and layer: 3 layers over 1000 tokens; 4 over 1001; 5 over 1003.
  const double token = 2.0 * 4 * 128 * 2;
  CHECK(plain.kv_cache.base() == kSequences * token * 3 * 1000);
  CHECK(one.kv_cache.base() == kSequences * token * 4 * 1001);
  CHECK(two.kv_cache.base() == kSequences * token * 5 * 1003);
  CHECK(one.activations > plain.activations);
}

TEST_CASE("drafts are refused where nothing can draft them, and by acceptance of other length") {
  CHECK(refusal({model_with(0), drafting(2)}) ==
        "scenario#/step/decode/speculative/draft_tokens: expected 0, since small has no modules of multi-token "
        "prediction (\"multi_token_prediction_layers\" of a moesim.model/1 file), and draft models of their own are "
        "not modelled; found 2");
  CHECK(refusal({drafting(3, "[0.9, 0.8]")}) ==
        "scenario#/step/decode/speculative/acceptance: expected a number, or one for each of the 3 draft tokens, found "
        "2 of them");
}
