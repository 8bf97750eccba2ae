#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "program.hpp"
#include "sim/config/document.hpp"
#include "sim/core/file.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

using Json = nlohmann::ordered_json;

/// OLMoE on two nodes; two strategies and the quick fidelity keep it short.
constexpr const char* kPlace = R"({"schema": "moesim.placement-comparison/1", "model": "olmoe-1b-7b",
  "cluster": {"catalogue": {"name": "hgx-h200", "nodes": 2}}, "parallelism": {"ranks": 16},
  "step": {"decode": {"sequences_per_dp_rank": 16, "context": 1024}}, "redundant_experts": 16,
  "strategies": ["search", "contiguous", "eplb-global"], "fidelity": "bound",
  "traces": [{"power_law": {"alpha": 1.2}}, {"uniform": {}}]})";

constexpr const char* kRun = R"({"schema": "moesim.scenario/1", "model": "olmoe-1b-7b",
  "cluster": {"catalogue": {"name": "hgx-h200", "nodes": 2}}, "parallelism": {"ranks": 16},
  "step": {"decode": {"sequences_per_dp_rank": 16, "context": 1024}}, "routing": {"power_law": {"alpha": 1.2}}})";

}  // namespace

TEST_CASE("place: the JSON has the promised frame and rows, best first, and no wall-clock times") {
  const ScratchFolder scratch;
  write_file(scratch.path() / "place.json", kPlace);
  const Outcome outcome = run_program(scratch.path(), "place place.json --format json --threads 1");
  REQUIRE(outcome.exit_code == 0);
  CHECK(outcome.err.empty());
  const Json json = Json::parse(outcome.out);
  CHECK(json.at("schema") == "moesim.result/1");
  CHECK(json.at("command") == "place");
  CHECK(json.at("seed") == 1);
  CHECK(json.at("inputs").at(0).at("path") == "place.json");
  CHECK(json.at("metrics").at("step_time").at("unit") == "s");
  REQUIRE(json.at("strategies").size() == 6);
  for (std::size_t trace = 0; trace < 2; ++trace) {
    double before = 0.0;
    for (std::size_t i = 3 * trace; i < 3 * trace + 3; ++i) {
      const Json& row = json.at("strategies").at(i);
      CHECK(row.at("trace") == (trace == 0 ? "power_law" : "uniform"));
      CHECK(row.at("step_time").get<double>() >= before);
      before = row.at("step_time").get<double>();
      CHECK(row.at("load_imbalance_worst").get<double>() >= row.at("load_imbalance_mean").get<double>());
      CHECK(row.at("bound_gap").get<double>() >= -1e-9);
      CHECK(row.at("bytes_inter_node").get<double>() > 0.0);
      CHECK(row.at("bytes_intra_node").get<double>() > 0.0);
      CHECK(row.at("step_time_bound_gap").get<double>() >= 0.0);
      CHECK(row.at("busiest_link_bytes").get<double>() > 0.0);
      CHECK(row.at("hbm_copies_per_rank") == 5.0);  // (64 + 16) / 16
      // Three matrices of 2048 x 1024 in two bytes for one expert more, in 16 layers.
      CHECK(row.at("redundant_bytes_per_rank").get<double>() == Approx(3.0 * 2048 * 1024 * 2 * 16));
      CHECK_FALSE(row.contains("solve_time"));
    }
  }
  CHECK(json.at("layers").size() == 6 * 16);
  REQUIRE(json.at("links").size() == 6 * 8);
  for (const Json& link : json.at("links")) {
    CHECK(link.at("bytes").get<double>() > 0.0);
    if (link.at("strategy") == "contiguous") {
      CHECK(link.at("bytes") == link.at("bytes_contiguous"));
    }
  }
  for (std::size_t i = 0; i < 6; ++i) {  // the first of a strategy's links is its busiest
    const Json& row = json.at("strategies").at(i);
    CHECK(json.at("links").at(8 * i).at("link") == row.at("busiest_link"));
    CHECK(json.at("links").at(8 * i).at("bytes") == row.at("busiest_link_bytes"));
  }
  CHECK_FALSE(json.contains("rebalancing"));
  CHECK(run_program(scratch.path(), "place place.json --format json --threads 2").out == outcome.out);
  const Outcome timed = run_program(scratch.path(), "place place.json --format json --timing");
  CHECK(Json::parse(timed.out).at("strategies").at(0).contains("solve_time"));
}

TEST_CASE("place: the best map is written for every system, and a scenario reads it back") {
  const ScratchFolder scratch;
  write_file(scratch.path() / "place.json", kPlace);
  write_file(scratch.path() / "run.json", kRun);
  for (const char* format : {"sglang", "tensorrt-llm", "vllm-ascend", "eplb"}) {
    INFO(format);
    const std::string file = std::string(format) == "tensorrt-llm" ? "map.yaml" : std::string(format) + ".json";
    const Outcome placed =
        run_program(scratch.path(), "place place.json --format json --write " + file + " --as " + format);
    REQUIRE(placed.exit_code == 0);
    const Outcome run =
        run_program(scratch.path(), "run run.json --format json --set '/placement={\"file\":\"" + file + "\"}'");
    REQUIRE(run.exit_code == 0);
    const Json best = Json::parse(placed.out).at("strategies").at(0);
    const Json metrics = Json::parse(run.out).at("metrics");
    CHECK(metrics.at("load_imbalance_mean").at("value").get<double>() ==
          Approx(best.at("load_imbalance_mean").get<double>()).epsilon(1e-12));
    CHECK(metrics.at("bytes_inter_node").at("value").get<double>() ==
          Approx(best.at("bytes_inter_node").get<double>()).epsilon(1e-12));
  }
}

TEST_CASE("place: one GPU, which has no links, is placed on like any other") {
  const ScratchFolder scratch;
  write_file(scratch.path() / "one.json",
             R"({"schema": "moesim.cluster/1", "name": "one", "accelerator": "h200-sxm", "gpus_per_node": 1})");
  write_file(scratch.path() / "place.json", R"({"schema": "moesim.placement-comparison/1", "model": "olmoe-1b-7b",
    "cluster": {"file": "one.json"}, "parallelism": {"ranks": 1}, "strategies": ["contiguous"],
    "step": {"decode": {"sequences_per_dp_rank": 4, "context": 128}}, "traces": [{"uniform": {}}]})");
  const Outcome outcome = run_program(scratch.path(), "place place.json --format json");
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const Json row = Json::parse(outcome.out).at("strategies").at(0);
  CHECK(row.at("busiest_link").is_null());
  CHECK(row.at("busiest_link_bytes") == 0.0);
  CHECK(row.at("step_time").get<double>() > 0.0);
}

TEST_CASE("place: bad input is refused with a text that says what is wrong") {
  const ScratchFolder scratch;
  write_file(scratch.path() / "place.json", kPlace);
  write_file(scratch.path() / "run.json", kRun);
  write_file(scratch.path() / "map.json", "{\"phy2log\": [[0, 1, 2]]}");
  write_file(scratch.path() / "other.json", "{\"experts\": 3}");
  const std::pair<const char*, const char*> kBad[] = {
      {"place place.json --set /redundant_experts=10",
       "error: place.json#/redundant_experts: expected a number of slots that the 16 ranks divide, found 74 "
       "slots (64 experts and 10 redundant); 16 redundant experts would fit\n"},
      {"place place.json --set /redundant_experts=-10",
       "error: place.json#/redundant_experts: expected a whole number, 0 to 9223372036854775807, found the number "
       "-10\n"},
      {"place place.json --set '/strategies=[\"eplb-globl\"]'",
       "error: place.json#/strategies/0: expected a placement strategy, found \"eplb-globl\"; did you mean "
       "\"eplb-global\"?\n"},
      {"place place.json --set '/traces=[\"nowhere.json\"]'",
       "error: place.json#/traces/0: expected a file or the name of a generator, found \"nowhere.json\", which is "
       "neither; known: deepseek-v2-lite, deepseek-v3-decode, deepseek-v3-prefill\n"},
      {"place place.json --write map.json",
       "error: moesim place: expected --write FILE and --as FORMAT together, found --write alone\n"},
      {"place nothing",
       "error: nothing: expected a comparison file or the name of a comparison, found neither; known: "
       "deepseek-v3-placement\n"},
      {"run run.json --set '/placement={\"file\":\"map.json\"}'",
       "error: map.json: expected 16 layers, one for each MoE layer, or all 16 of the model, found 1\n"},
      {"run run.json --set '/placement={\"file\":\"other.json\"}'",
       "error: other.json: expected a map of experts with \"physical_to_logical_map\" (SGLang), \"phy2log\" (EPLB) or "
       "\"layer_list\" (vllm-ascend), or a .yaml of TensorRT-LLM, found the keys \"experts\"\n"},
  };
  for (const auto& [arguments, text] : kBad) {
    INFO(arguments);
    const Outcome outcome = run_program(scratch.path(), arguments);
    CHECK(outcome.exit_code == 2);
    CHECK(outcome.out.empty());
    CHECK(outcome.err == text);
  }
  const Outcome format = run_program(scratch.path(), "place place.json --write map.json --as lmdeploy");
  CHECK(format.exit_code == 2);
  CHECK(format.err.find("--as") != std::string::npos);
  CHECK(format.err.find("lmdeploy") != std::string::npos);
}

TEST_CASE("place: micro-batches are refused, since layers are compared one by one") {
  const ScratchFolder scratch;
  const Outcome outcome = run_program(scratch.path(), "place deepseek-v3-placement --set /step/decode/micro_batches=2");
  CHECK(outcome.exit_code == 2);
  CHECK(outcome.err.find("/step/decode/micro_batches: expected 1, since placements are compared layer by layer") !=
        std::string::npos);
}
