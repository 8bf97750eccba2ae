#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "program.hpp"
#include "sim/core/file.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

using Json = nlohmann::ordered_json;

/// OLMoE, two pipeline ranks of eight GPUs; eight micro-batches of short sequences keep it quick.
constexpr const char* kTrain = R"({"schema": "moesim.training/1", "model": "olmoe-1b-7b",
  "cluster": {"catalogue": {"name": "hgx-h200", "nodes": 2}},
  "parallelism": {"ranks": 16, "pipeline_parallel": 2, "expert_parallel": 8}, "schedule": "1f1b",
  "batch": {"sequence_length": 512, "micro_batch": 1, "global_batch": 64},
  "routing": {"power_law": {"alpha": 0.5}}, "dispatch": {"protocol": "naive"}})";

Json trained(const ScratchFolder& scratch, const std::string& options) {
  const Outcome outcome = run_program(scratch.path(), "train train.json --format json " + options);
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  return Json::parse(outcome.out);
}

std::int64_t ticks(const Json& json, const std::string& category) {
  for (const Json& row : json.at("attribution")) {
    if (row.at("category") == category) {
      return row.at("ticks").get<std::int64_t>();
    }
  }
  return -1;
}

}  // namespace

TEST_CASE("train: the JSON has the promised frame, and its parts add up to the step", "[train]") {
  const ScratchFolder scratch;
  write_file(scratch.path() / "train.json", kTrain);
  const Json json = trained(scratch, "--threads 1");
  CHECK(json.at("schema") == "moesim.result/1");
  CHECK(json.at("command") == "train");
  CHECK(json.at("scenario").at("schema") == "moesim.training/1");
  CHECK(json.at("inputs").at(0).at("path") == "train.json");
  std::int64_t sum = 0;
  for (const Json& row : json.at("attribution")) {
    sum += row.at("ticks").get<std::int64_t>();
  }
  const double step = metric(json, "step_time");
  CHECK(static_cast<double>(sum) * 1e-12 == Approx(step).epsilon(1e-12));
  CHECK(metric(json, "tokens_per_second") == Approx(64 * 512 / step));
  CHECK(metric(json, "tokens_per_second_per_gpu") == Approx(64 * 512 / step / 16));
  CHECK(metric(json, "mfu") == Approx(metric(json, "tflops_per_gpu") / 989.0).epsilon(0.01));
  for (const char* name : {"flops", "parameters_total", "parameters_active", "hbm_peak_per_rank", "bubble_fraction"}) {
    CHECK(metric(json, name) > 0.0);
  }
  CHECK(ticks(json, "bubble") > 0);
  CHECK(json.at("pipeline_ranks").size() == 2);
  CHECK(json.at("stages").size() == 2);

  // 6 FLOP for each weight and token that it meets, but norms, and 12·layers·hidden·(length + 1)/2 of causal attention.
  const double token = 6.0 * metric(json, "parameters_active") + 12.0 * 16 * 2048 * 513 / 2;
  CHECK(metric(json, "tflops_per_gpu") * 1e12 * 16 * step == Approx(64 * 512 * token).epsilon(0.001));
}

TEST_CASE("train: the same bytes on any number of threads", "[train]") {
  const ScratchFolder scratch;
  write_file(scratch.path() / "train.json", kTrain);
  const Outcome one = run_program(scratch.path(), "train train.json --format json --threads 1");
  const Outcome two = run_program(scratch.path(), "train train.json --format json --threads 2");
  CHECK(one.exit_code == 0);
  CHECK(one.out == two.out);
}

TEST_CASE("train: settings change the step the way they must", "[train]") {
  const ScratchFolder scratch;
  write_file(scratch.path() / "train.json", kTrain);
  const Json plain = trained(scratch, "");
  const Json recomputed = trained(scratch, "--set '/recompute=\"full\"'");
  CHECK(metric(recomputed, "step_time") > metric(plain, "step_time"));
  CHECK(metric(recomputed, "hbm_peak_per_rank") < metric(plain, "hbm_peak_per_rank"));
  CHECK(metric(recomputed, "flops") > metric(plain, "flops"));
  const Json longer = trained(scratch, "--set /batch/global_batch=128");
  CHECK(metric(longer, "bubble_fraction") < metric(plain, "bubble_fraction"));
  const Json gpipe = trained(scratch, "--set '/schedule=\"gpipe\"'");
  CHECK(metric(gpipe, "hbm_peak_per_rank") > metric(plain, "hbm_peak_per_rank"));
  const Json late =
      trained(scratch, "--set '/optimizer={\"gradient_reduce\": \"none\", \"parameter_gather\": \"none\"}'");
  CHECK(ticks(late, "exposed gradient reduction") > ticks(plain, "exposed gradient reduction"));
  CHECK(ticks(late, "exposed parameter gathering") > ticks(plain, "exposed parameter gathering"));
}

// Collectives take SMs that no profile knows of: said where kernels run beside them, and only there.
TEST_CASE("train: passes beside collectives come with a warning", "[train]") {
  const ScratchFolder scratch;
  write_file(scratch.path() / "train.json", kTrain);
  const auto warned = [&](const std::string& options) {
    return trained(scratch, options).dump().find("passes gain at most what this step says") != std::string::npos;
  };
  CHECK_FALSE(warned(""));
  CHECK(warned("--set '/schedule=\"overlapped-1f1b\"'"));
  CHECK(warned("--set '/weight_gradients=\"beside-exchange\"'"));
  CHECK_FALSE(warned("--set '/schedule=\"overlapped-1f1b\"' --set '/dispatch/protocol=\"deepep-normal\"'"));
}

TEST_CASE("train: a timeline with every pass of every pipeline rank", "[train]") {
  const ScratchFolder scratch;
  write_file(scratch.path() / "train.json", kTrain);
  REQUIRE(run_program(scratch.path(), "train train.json --out results").exit_code == 0);
  const Json trace = Json::parse(read_file(scratch.path() / "results" / "timeline.json"));
  const auto passes = std::count_if(trace.at("traceEvents").begin(), trace.at("traceEvents").end(),
                                    [](const Json& event) { return event.at("ph") == "X"; });
  CHECK(passes == 2 * 2 * 8);  // ranks, passes, micro-batches
}

// As bad_input_test has it for `run`; MOESIM_UPDATE_EXPECTED=1 rewrites what is expected.
TEST_CASE("train: bad input is refused with exit code 2 and a text that says what is wrong", "[train]") {
  const std::filesystem::path fixtures = std::filesystem::path(MOESIM_SOURCE_DIR) / "tests/cli/bad_training";
  const ScratchFolder scratch;
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(fixtures)) {
    if (entry.path().extension() == ".json") {
      names.push_back(entry.path().stem());
      std::filesystem::copy(entry.path(), scratch.path());
    }
  }
  std::sort(names.begin(), names.end());
  REQUIRE(names.size() >= 8);
  for (const std::string& name : names) {
    INFO("fixture " << name);
    const Outcome outcome = run_program(scratch.path(), "train " + name + ".json");
    CHECK(outcome.exit_code == 2);
    CHECK(outcome.out.empty());
    const std::filesystem::path expected = fixtures / (name + ".expected");
    if (std::getenv("MOESIM_UPDATE_EXPECTED") != nullptr) {  // NOLINT(concurrency-mt-unsafe): one thread
      write_file(expected, outcome.err);
    }
    CHECK(outcome.err == read_file(expected));
  }
}
