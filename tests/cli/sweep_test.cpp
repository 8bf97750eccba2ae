#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "program.hpp"
#include "sim/core/file.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kSweep = R"({"schema": "moesim.sweep/1", "scenario": "mixtral-8x7b-decode-h100",
  "set": {"/fidelity": "bound"},
  "axes": [{"/parallelism/ranks": [1, 8]}, {"/step/decode/sequences_per_dp_rank": [16, 64]}],
  "limits": [{"metric": "hbm_peak_per_rank", "at_most": "40 GB"}]})";

}  // namespace

TEST_CASE("sweep: the JSON has the promised frame, every point, and the same bytes on any number of threads") {
  const ScratchFolder scratch;
  write_file(scratch.path() / "sweep.json", kSweep);
  const Outcome outcome = run_program(scratch.path(), "sweep sweep.json --format json --threads 1");
  REQUIRE(outcome.exit_code == 0);
  const Json json = Json::parse(outcome.out);
  CHECK(json.at("schema") == "moesim.result/1");
  CHECK(json.at("command") == "sweep");
  CHECK(json.at("inputs").at(0).at("path") == "sweep.json");
  CHECK(json.at("scenario").at("objectives").size() == 2);
  CHECK(json.at("base").at("fidelity") == "bound");
  CHECK(metric(json, "points") == 4);
  CHECK(metric(json, "points_run") == 2);  // 93 GB in bf16 do not fit on one H100
  REQUIRE(json.at("points").size() == 4);
  for (std::size_t i = 0; i < 4; ++i) {
    const Json& point = json.at("points").at(i);
    CHECK(point.at("set").at("/parallelism/ranks") == (i < 2 ? 1 : 8));
    CHECK(point.at("set").at("/step/decode/sequences_per_dp_rank") == (i % 2 == 0 ? 16 : 64));
    CHECK(point.at("obstacle").is_null() == (i >= 2));
    CHECK(point.at("figures").contains("step_time") == (i >= 2));
    double sum = 0.0;
    for (const Json& part : point.at("attribution")) {
      sum += part.at("value").get<double>();
    }
    CHECK((i < 2 ? sum == 0.0 : sum == Approx(point.at("figures").at("step_time").get<double>())));
  }
  CHECK(json.at("figures").at(0).at("name") == "gpus");
  CHECK(json.at("figures").at(1).at("name") == "step_time");
  CHECK(json.at("figures").at(1).at("unit") == "s");
  CHECK(run_program(scratch.path(), "sweep sweep.json --format json --threads 2").out == outcome.out);
}

TEST_CASE("sweep: the table names what cannot run, and --out holds a line for each point") {
  const ScratchFolder scratch;
  write_file(scratch.path() / "sweep.json", kSweep);
  const Outcome outcome = run_program(scratch.path(), "sweep sweep.json --out results");
  REQUIRE(outcome.exit_code == 0);
  CHECK(outcome.out.starts_with("mixtral-8x7b-decode-h100 under 4 combinations, 2 of which can run\n"));
  CHECK(outcome.out.find("\ncannot run\n  /parallelism/ranks=1, /step/decode/sequences_per_dp_rank=16: ") !=
        std::string::npos);
  CHECK(outcome.out.find("\nwithin: hbm_peak_per_rank at most 40 GB: ") != std::string::npos);
  CHECK(read_file(scratch.path() / "results/result.txt") == outcome.out);
  const std::string csv = read_file(scratch.path() / "results/points.csv");
  CHECK(std::count(csv.begin(), csv.end(), '\n') == 5);
  CHECK(
      csv.starts_with("/parallelism/ranks,/step/decode/sequences_per_dp_rank,obstacle,within_limits,front,gpus,"
                      "step_time,"));
}

TEST_CASE("sweep: faults end with exit code 2 and name the place") {
  const ScratchFolder scratch;
  const auto fault = [&](const std::string& assignment) {
    write_file(scratch.path() / "sweep.json", kSweep);
    const Outcome outcome = run_program(scratch.path(), "sweep sweep.json --out results --set '" + assignment + "'");
    CHECK(outcome.exit_code == 2);
    CHECK(outcome.out.empty());
    CHECK_FALSE(std::filesystem::exists(scratch.path() / "results"));
    return outcome.err;
  };
  CHECK(fault("/limits/0/metric=step_tim") ==
        "error: sweep.json#/limits/0/metric: expected one of step_time, time_per_output_token, tokens_per_second, "
        "tokens_per_second_per_gpu, "
        "cost_per_million_tokens, mfu, hfu, hbm_utilisation, hbm_peak_per_rank, bytes_inter_node, "
        "load_imbalance_mean, gpus, found \"step_tim\"; did you mean \"step_time\"?\n");
  CHECK(fault("/axes/1={\"/step/decode/contexts\": [1024]}")
            .starts_with("error: sweep.json#/axes: with /parallelism/ranks=1, /step/decode/contexts=1024: "
                         "scenario mixtral-8x7b-decode-h100#/step/decode: expected a known key, found \"contexts\"; "
                         "did you mean \"context\"?"));
  CHECK(fault("/axes=[]") == "error: sweep.json#/axes: expected an array of at least 1, found an array of 0\n");
  CHECK(fault("/axes=[{\"/parallelism/ranks\": [1]}]")
            .starts_with("error: sweep.json: none of 1 points can run; the first: "));
}
