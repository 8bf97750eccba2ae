#include "validate/cases/published.hpp"

#include <catch2/catch.hpp>
#include <set>

#include "sim/config/decode.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/scenario/run.hpp"
#include "sim/training/run.hpp"

using namespace moesim;

namespace {

CollectiveScenario all_reduce() {
  CollectiveScenario scenario;
  scenario.operation = CollectiveOperation::kAllReduce;
  scenario.cluster = ClusterName{"hgx-h200"};
  scenario.ranks = 4;
  scenario.protocol = "ring";
  scenario.size = bytes(1e6);
  return scenario;
}

Duration time_of(const CollectiveScenario& scenario) {
  return run_collective(scenario, {"test", ""}, TaskPool(1)).time;
}

PublishedCase published(std::string name, PublishedFigure figure, CaseRun run, double tolerance) {
  PublishedCase result;
  result.name = std::move(name);
  result.published = figure;
  result.run = std::move(run);
  result.tolerance = tolerance;
  return result;
}

std::vector<CaseOutcome> validated(std::vector<PublishedCase> cases) {
  CaseFile file;
  file.name = "test";
  file.cases = std::move(cases);
  return validate_cases({file}, TaskPool(2));
}

}  // namespace

// Published at 0.8 and 1.25 of the prediction: errors of +25 % and -20 %.
TEST_CASE("A case is within its tolerance or missed, on both sides; misses come first, the worst before") {
  const Duration time = time_of(all_reduce());
  const RunCollective run{all_reduce()};
  const auto outcomes = validated({published("near", PublishedTime{time}, run, 0.01),
                                   published("slow", PublishedTime{time * 1.25}, run, 0.19),
                                   published("waits", PublishedTime{time}, RunWaits{"tea"}, 0.1),
                                   published("fast", PublishedTime{time * 0.8}, run, 0.24),
                                   published("slow enough", PublishedTime{time * 1.25}, run, 0.21)});
  REQUIRE(outcomes.size() == 5);
  CHECK(outcomes[0].of.name == "fast");
  CHECK(*outcomes[0].error() == Approx(0.25).epsilon(1e-9));
  CHECK(outcomes[0].verdict == CaseVerdict::kMiss);
  CHECK(outcomes[1].of.name == "slow");
  CHECK(*outcomes[1].error() == Approx(-0.2).epsilon(1e-9));
  CHECK(outcomes[1].verdict == CaseVerdict::kMiss);
  CHECK(outcomes[2].verdict == CaseVerdict::kWithin);
  CHECK(outcomes[3].verdict == CaseVerdict::kWithin);
  CHECK(outcomes[4].verdict == CaseVerdict::kWaiting);
  CHECK(outcomes[4].note == "waits for tea");
  CHECK_FALSE(outcomes[4].error());
}

// A bound on a time may be exceeded by any amount, but not undercut; several collectives add up, and repeats multiply.
TEST_CASE("Bounds are one-sided, sums and repeats are of times") {
  const Duration time = time_of(all_reduce());
  const RunCollectives twice{{all_reduce(), all_reduce()}};
  const auto bounded = [&](double share) {
    PublishedCase result = published("bound", PublishedTime{time * share}, twice, 0.01);
    result.relation = CaseRelation::kAtLeast;
    result.repeat = 3.0;
    return validated({result}).front();
  };
  CHECK(*bounded(6.0).error() == Approx(0.0).margin(1e-9));
  CHECK(bounded(1.0).verdict == CaseVerdict::kWithin);
  CHECK(bounded(6.05).verdict == CaseVerdict::kWithin);
  CHECK(bounded(6.2).verdict == CaseVerdict::kMiss);
}

// With one expert for each token and eight on as many ranks, every token has one row of 7168 + 56·4 bytes on exactly
// one rank: 512 rows leave each rank.
TEST_CASE("A bandwidth counts one row for each rank that a token has experts on, and leaves the notification out") {
  CollectiveScenario scenario;
  scenario.operation = CollectiveOperation::kDispatch;
  scenario.cluster = ClusterName{"hgx-h200"};
  scenario.ranks = 8;
  scenario.protocol = "deepep-normal";
  scenario.load = TokenLoad{.tokens = 512, .hidden = 7168, .experts = 8, .experts_per_token = 1};
  const Duration time = time_of(scenario);
  const Bandwidth expected = bytes(512.0 * (7168.0 + 56 * 4)) / time;
  const auto outcome =
      validated({published("one", PublishedBandwidth{expected}, RunCollective{scenario}, 0.001)}).front();
  CHECK(*outcome.error() == Approx(0.0).margin(1e-9));
}

TEST_CASE("A speedup is that of a step in micro-batches over the same in one batch") {
  Scenario scenario;
  scenario.model = ModelName{"olmoe-1b-7b"};
  scenario.cluster = ClusterName{"hgx-h200"};
  scenario.parallelism.ranks = 8;
  scenario.routing = UniformRouting{};
  const auto time = [&](std::optional<int> micro_batches) {
    scenario.step = DecodeStep{64, 1024, micro_batches};
    return run_step(scenario, {"test", ""}, TaskPool(1)).execution.end.duration();
  };
  const Duration whole = time(std::nullopt);
  const double speedup = whole / time(2);  // the scenario is left split
  const auto outcomes = validated({published("gain", PublishedSpeedup{speedup}, RunSplit{scenario}, 0.01),
                                   published("rate", PublishedRate{1.0}, RunSplit{scenario}, 0.01),
                                   published("one step", PublishedSpeedup{speedup}, RunStep{scenario}, 0.01)});
  CHECK(outcomes[0].verdict == CaseVerdict::kFailed);
  CHECK(outcomes[1].verdict == CaseVerdict::kFailed);
  CHECK(outcomes[1].note ==
        "expected a split_step in micro-batches or a drafting_step with draft tokens for a speedup, and for nothing "
        "else");
  CHECK(*outcomes[2].error() == Approx(0.0).margin(1e-12));
  CHECK(outcomes[2].unit() == "1");
}

TEST_CASE("What cannot be simulated is a case that failed, with the reason") {
  CollectiveScenario scenario = all_reduce();
  scenario.protocol = "rign";
  const auto outcome = validated({published("bad", PublishedTime{seconds(1)}, RunCollective{scenario}, 0.1)}).front();
  CHECK(outcome.verdict == CaseVerdict::kFailed);
  CHECK(outcome.note.find("found \"rign\"") != std::string::npos);
}

TEST_CASE("The cases that come with the program decode, and no two have the same name") {
  std::set<std::string> names;
  for (const std::string_view name : case_catalogue().names()) {
    const auto file = decode_document<CaseFile>(case_catalogue().find(name, {}));
    CHECK(file.name == name);
    for (const PublishedCase& entry : file.cases) {
      CHECK(names.insert(file.name + ": " + entry.name).second);
      CHECK(entry.tolerance <= 0.2);
    }
  }
  CHECK(names.size() >= 30);
}

TEST_CASE("A training is held against the time of its step, or the tokens that a GPU has of it") {
  Training training;
  training.model = ModelName{"olmoe-1b-7b"};
  training.cluster = ClusterName{"hgx-h200"};
  training.parallelism.ranks = 8;
  training.parallelism.expert_parallel = 8;
  training.batch = {512, 1, 16};
  training.routing = BalancedRouting{};
  training.dispatch.protocol = DispatchProtocol::kNaive;
  const double step = run_training(training, {"test", ""}, TaskPool(1)).step.duration().base();
  const auto outcomes = validated({published("step", PublishedTime{seconds(step)}, RunTraining{training}, 0.01),
                                   published("rate", PublishedGpuRate{1000.0}, RunTraining{training}, 0.01)});
  for (const CaseOutcome& outcome : outcomes) {
    REQUIRE(outcome.predicted);
    CHECK(*outcome.predicted == Approx(outcome.of.name == "step" ? step : 512.0 * 16 / 8 / step));
  }
}
