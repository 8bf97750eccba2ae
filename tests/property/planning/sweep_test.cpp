#include "sim/planning/sweep.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "sim/config/codec.hpp"
#include "sim/config/decode.hpp"

using namespace moesim;

namespace {

/// Mixtral on one node; 2 × 3 points that take a moment each.
constexpr const char* kSweep = R"({"schema": "moesim.sweep/1", "scenario": "mixtral-8x7b-decode-h100",
  "set": {"/fidelity": "bound", "/price_per_gpu": "2 USD/h"},
  "axes": [{"/parallelism/ranks": [4, 8], "/parallelism/tensor_parallel": [1, 2]},
           {"/step/decode/sequences_per_dp_rank": [8, 32, 96]}],
  "limits": [{"metric": "step_time", "at_most": "10 s"}],
  "objectives": [{"metric": "cost_per_million_tokens", "goal": "minimise"}, {"metric": "step_time", "goal": "minimise"}]})";

Document document_of(const std::string& text) { return Document::parse("sweep.json", text); }
SweepConfig config_of(const std::string& text) { return decode_document<SweepConfig>(document_of(text)); }

Sweep run(const SweepConfig& config, std::size_t threads) {
  const TaskPool pool(threads);
  return run_sweep(config, {"sweep.json", {}}, pool, [](std::size_t, std::size_t) {});
}

std::string fault_of(const SweepConfig& config) {
  try {
    static_cast<void>(plan_sweep(config, {"sweep.json", {}}));
  } catch (const ConfigError& error) {
    return error.diagnostics().front().text();
  }
  return "none";
}

}  // namespace

TEST_CASE("a sweep's points are all combinations, the last axis fastest, and pointers of one axis go together") {
  const SweepConfig config = config_of(kSweep);
  const SweepPlan plan = plan_sweep(config, {"sweep.json", {}});
  REQUIRE(plan.scenarios.size() == 6);
  const std::int64_t sequences[] = {8, 32, 96};
  for (std::size_t i = 0; i < 6; ++i) {
    const Scenario& scenario = plan.scenarios[i];
    CHECK(scenario.parallelism.ranks == (i < 3 ? 4 : 8));
    CHECK(scenario.parallelism.tensor_parallel == (i < 3 ? 1 : 2));
    CHECK(std::get<DecodeStep>(scenario.step).sequences_per_dp_rank == sequences[i % 3]);
    CHECK(scenario.fidelity == Fidelity::kBound);
    CHECK(plan.at[i] == std::vector<std::size_t>{i / 3, i % 3});
  }
}

TEST_CASE("every point is what the same scenario gives by itself, on any number of threads") {
  const SweepConfig config = config_of(kSweep);
  const Sweep sweep = run(config, 1);
  const SweepPlan plan = plan_sweep(config, {"sweep.json", {}});
  const TaskPool pool(2);
  for (std::size_t i = 0; i < sweep.points.size(); ++i) {
    const StepResult alone = run_step(plan.scenarios[i], {"sweep.json", {}}, pool);
    const auto metrics = step_metrics(alone);
    REQUIRE(sweep.points[i].metrics.size() == metrics.size());
    for (std::size_t m = 0; m < metrics.size(); ++m) {
      CAPTURE(metrics[m].name);
      CHECK(sweep.points[i].metrics[m].value == metrics[m].value);
    }
    CHECK(sweep.points[i].attribution == attribution(alone.execution));
    CHECK(sweep.points[i].gpus == alone.ranks);
  }
  for (const std::size_t threads : {std::size_t{2}, std::size_t{16}}) {
    const Sweep other = run(config, threads);
    CHECK(other.front == sweep.front);
    for (std::size_t i = 0; i < sweep.points.size(); ++i) {
      CHECK(other.points[i].figure(Figure::kStepTime) == sweep.points[i].figure(Figure::kStepTime));
    }
  }
}

TEST_CASE("the front is what no other point within the limits beats, the best in the first objective first") {
  SweepConfig config = config_of(kSweep);
  const Sweep all = run(config, 2);
  // Half of the points are too slow for the median step time.
  std::vector<double> times;
  for (const SweepPoint& point : all.points) {
    times.push_back(point.figure(Figure::kStepTime).value());
    CHECK(point.within_limits);
  }
  std::sort(times.begin(), times.end());
  config.limits[0].at_most = write_quantity((times[2] + times[3]) / 2.0, unit_table<Duration>());
  const Sweep sweep = run(config, 2);
  CHECK(std::count_if(sweep.points.begin(), sweep.points.end(), [](const auto& p) { return p.within_limits; }) == 3);
  for (const Sweep* one : {&all, &sweep}) {
    std::set<std::size_t> front(one->front.begin(), one->front.end());
    REQUIRE_FALSE(front.empty());
    const auto values = [&](std::size_t i) {
      return std::vector<double>{one->points[i].figure(Figure::kCostPerMillionTokens).value(),
                                 one->points[i].figure(Figure::kStepTime).value()};
    };
    for (std::size_t i = 0; i < one->points.size(); ++i) {
      bool beaten = !one->points[i].within_limits;
      for (std::size_t j = 0; j < one->points.size(); ++j) {
        const bool no_worse = values(j)[0] <= values(i)[0] && values(j)[1] <= values(i)[1];
        beaten = beaten || (one->points[j].within_limits && no_worse && values(j) != values(i));
      }
      CHECK(one->points[i].on_front == !beaten);
      CHECK(front.contains(i) == !beaten);
    }
    for (std::size_t i = 1; i < one->front.size(); ++i) {
      CHECK(values(one->front[i - 1])[0] <= values(one->front[i])[0]);
    }
  }
  // A cost is price · GPUs / (tokens/s): 2 USD/h on each.
  for (const SweepPoint& point : all.points) {
    const double rate = point.figure(Figure::kTokensPerSecond).value();
    const double gpus = point.figure(Figure::kGpus).value();
    CHECK(point.figure(Figure::kCostPerMillionTokens).value() == Approx(2.0 / 3600 * gpus / rate * 1e6));
  }
}

TEST_CASE("domination is by all objectives, each its own way") {
  const std::vector<SweepObjective> objectives{{Figure::kTokensPerSecond, Goal::kMaximise},
                                               {Figure::kStepTime, Goal::kMinimise}};
  CHECK(dominates({2, 1}, {1, 1}, objectives));
  CHECK(dominates({1, 1}, {1, 2}, objectives));
  CHECK_FALSE(dominates({1, 1}, {1, 1}, objectives));
  CHECK_FALSE(dominates({2, 2}, {1, 1}, objectives));
  CHECK_FALSE(dominates({1, 1}, {2, 2}, objectives));
  CHECK_FALSE(dominates({1, 2}, {2, 1}, objectives));
}

TEST_CASE("a point that cannot run says why and leaves the others alone") {
  SweepConfig config = config_of(kSweep);
  config.axes[1].value.begin()->second = {8, 1'000'000};
  const Sweep sweep = run(config, 2);
  REQUIRE(sweep.points.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(sweep.points[i].ran() == (i % 2 == 0));
    CHECK(sweep.points[i].within_limits == (i % 2 == 0));
    CHECK(sweep.points[i].figure(Figure::kStepTime).has_value() == (i % 2 == 0));
  }
  CHECK(sweep.points[1].obstacle.find("does not fit") != std::string::npos);
  config.axes[1].value.begin()->second = {1'000'000};
  CHECK_THROWS_AS(run(config, 2), ModelError);
}

TEST_CASE("a sweep's faults are found before anything runs, and say where they are") {
  const auto with = [](auto change) {
    SweepConfig config = config_of(kSweep);
    change(config);
    return fault_of(config);
  };
  CHECK(with([](SweepConfig&) {}) == "none");
  CHECK(with([](SweepConfig& c) { c.axes[0].value["/parallelism/ranks"] = {4}; }) ==
        "sweep.json#/axes/0/~1parallelism~1tensor_parallel: expected 1 values, as many as \"/parallelism/ranks\" has, "
        "which changes together with it, found 2");
  CHECK(with([](SweepConfig& c) { c.axes[1].value.begin()->second.clear(); }) ==
        "sweep.json#/axes/1/~1step~1decode~1sequences_per_dp_rank: expected at least 1 value, found none");
  CHECK(with([](SweepConfig& c) { c.axes[1].value.clear(); }) ==
        "sweep.json#/axes/1: expected a JSON pointer with its values, found none");
  CHECK(with([](SweepConfig& c) { c.axes[1].value["/step/decode/context"] = {1}; }) ==
        "sweep.json#/axes/1/~1step~1decode~1sequences_per_dp_rank: expected 1 values, as many as "
        "\"/step/decode/context\" has, which changes together with it, found 3");
  CHECK(with([](SweepConfig& c) { c.set["context"] = 1; }) ==
        "sweep.json#/set/context: expected a JSON pointer into the scenario, such as \"/step/decode/context\", found "
        "\"context\"");
  CHECK(with([](SweepConfig& c) { c.limits[0].at_most = Json(50); }) ==
        "sweep.json#/limits/0/at_most: expected a time with its unit, such as \"2.5 us\", found 50");
  CHECK(
      with([](SweepConfig& c) { c.limits[0].at_most = Json("50 GB"); }).starts_with("sweep.json#/limits/0/at_most: "));
  CHECK(with([](SweepConfig& c) { c.limits[0].metric = Figure::kGpus; }) ==
        "sweep.json#/limits/0/at_most: expected a number, as gpus is one, found \"10 s\"");
  CHECK(with([](SweepConfig& c) { c.limits[0].at_most.reset(); }) ==
        "sweep.json#/limits/0: expected at_most or at_least, found neither");
  CHECK(with([](SweepConfig& c) {
          c.set.erase("/price_per_gpu");
          c.scenario = {"qwen3-235b-decode-h200", "qwen3-235b-decode-h200"};
        }) ==
        "sweep.json#/objectives/0/metric: expected a scenario with price_per_gpu, found one without; \"set\": "
        "{\"/price_per_gpu\": \"2 USD/h\"} gives it one");
  CHECK(with([](SweepConfig& c) { c.scenario = {"mixtral", "mixtral"}; })
            .starts_with("sweep.json#/scenario: expected a scenario file or the name of a scenario, found \"mixtral\", "
                         "which is neither"));
  CHECK(with([](SweepConfig& c) {
          c.scenario = {"deepseek-v3-prefill-h200", "deepseek-v3-prefill-h200"};
          c.axes.pop_back();
          c.limits[0].metric = Figure::kTimePerOutputToken;
        }) ==
        "sweep.json#/limits/0/metric: expected a scenario with a decode step, found one with a prefill step, "
        "which generates nothing");
  CHECK(with([](SweepConfig& c) { c.axes[1].value["/step/decode"] = {1, 2, 3}; }) ==
        "sweep.json#/axes/1/~1step~1decode~1sequences_per_dp_rank: expected pointers that do not name the same value, "
        "found \"/step/decode\", too");
  CHECK(with([](SweepConfig& c) { c.axes.push_back(c.axes[1]); }) ==
        "sweep.json#/axes/2/~1step~1decode~1sequences_per_dp_rank: expected pointers that do not name the same value, "
        "found \"/step/decode/sequences_per_dp_rank\", too");
  CHECK(with([](SweepConfig& c) { c.limits[0].at_least = Json("11 s"); }) ==
        "sweep.json#/limits/0: expected at_least to be no more than at_most, found it to be more");
  CHECK(with([](SweepConfig& c) { c.objectives.push_back({Figure::kStepTime, Goal::kMaximise}); }) ==
        "sweep.json#/objectives/2/metric: expected each metric once, found step_time twice");
  // Values that no scenario may have are the sweep's fault, not a point's: a slip would else be a table of refusals.
  CHECK(with([](SweepConfig& c) { c.axes[1].value.begin()->second = {8, 0}; }) ==
        "sweep.json#/axes: with /parallelism/ranks=4, /parallelism/tensor_parallel=1, "
        "/step/decode/sequences_per_dp_rank=0: scenario mixtral-8x7b-decode-h100#/step/decode/sequences_per_dp_rank: "
        "expected a whole number, 1 to 16777216, found the number 0");
  std::vector<Json> many(1000, Json(8));
  CHECK(with([&](SweepConfig& c) {
          c.axes[1].value.begin()->second = many;
          c.axes.push_back(c.axes[1]);
        }) == "sweep.json#/axes: expected at most 100000 combinations, found more");
}

TEST_CASE("a sweep's figures are metrics of a step, by name") {
  const Sweep sweep = run(config_of(kSweep), 2);
  for (const auto& [figure, name] : EnumNames<Figure>::names) {
    CAPTURE(name);
    CHECK(sweep.points.front().figure(figure).has_value());
  }
  // Nothing is drafted: a step is a token.
  CHECK(sweep.points.front().figure(Figure::kTimePerOutputToken) == sweep.points.front().figure(Figure::kStepTime));
}
