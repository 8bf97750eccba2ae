#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <nlohmann/json.hpp>

#include "program.hpp"
#include "sim/core/file.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

/// OLMoE on one node: small enough to run often.
constexpr const char* kSmall =
    R"({"schema": "moesim.scenario/1", "model": "olmoe-1b-7b", "cluster": "hgx-h200", "parallelism": {"ranks": 8},
  "step": {"decode": {"sequences_per_dp_rank": 16, "context": 1024}}, "routing": {"generator": {"name": "deepseek-v2-lite"}}})";

nlohmann::json run_json(const ScratchFolder& folder, const std::string& options = {}) {
  const Outcome outcome = run_program(folder.path(), "run small.json --format json " + options);
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  return nlohmann::json::parse(outcome.out);
}

struct Small {
  Small() { write_file(folder.path() / "small.json", kSmall); }
  ScratchFolder folder;
};

}  // namespace

TEST_CASE("run: an accelerator of one compute unit is asked for no SMs of dispatch") {
  const ScratchFolder scratch;
  const Outcome outcome = run_program(scratch.path(),
                                      "run mixtral-8x7b-decode-h100 --set /kernels='\"roofline\"' "
                                      "--set '/cluster={\"catalogue\": {\"name\": \"tpu-v5e-pod\"}}'");
  CHECK(outcome.exit_code == 2);
  CHECK(outcome.err.find("does not fit: ") != std::string::npos);
}

TEST_CASE_METHOD(Small, "the same scenario and seed give the same bytes on any number of threads") {
  const Outcome one = run_program(folder.path(), "run small.json --format json --threads 1 --out a");
  const Outcome two = run_program(folder.path(), "run small.json --format json --threads 2 --out b");
  REQUIRE(one.exit_code == 0);
  CHECK(one.out == two.out);
  for (const char* file : {"result.json", "result.txt", "timeline.json"}) {
    CHECK(read_file(folder.path() / "a" / file) == read_file(folder.path() / "b" / file));
  }
  const Outcome other = run_program(folder.path(), "run small.json --format json --seed 2");
  CHECK(other.out != one.out);
}

TEST_CASE_METHOD(Small, "json: one document, with units, definitions, inputs and a time that adds up") {
  const auto result = run_json(folder);
  CHECK(result.at("schema") == "moesim.result/1");
  CHECK(result.at("command") == "run");
  CHECK(result.at("inputs").at(0).at("sha256") == sha256(kSmall));
  for (const auto& [name, value] : result.at("metrics").items()) {
    INFO(name);
    CHECK(value.at("value").is_number());
    CHECK_FALSE(value.at("unit").get<std::string>().empty());
    CHECK_FALSE(value.at("definition").get<std::string>().empty());
  }
  double sum = 0.0;
  for (const auto& part : result.at("attribution")) {
    sum += part.at("value").get<double>();
  }
  CHECK(sum == Approx(metric(result, "step_time")).epsilon(1e-12));
  double layers = 0.0;
  for (const auto& layer : result.at("layers")) {
    layers += layer.at("time").get<double>();
  }
  CHECK(result.at("layers").size() == 16);
  CHECK(layers < metric(result, "step_time"));  // embedding and head come on top
}

TEST_CASE_METHOD(Small, "the scenario in a result can be run again and gives the same result") {
  const auto result = run_json(folder);
  write_file(folder.path() / "again.json", result.at("scenario").dump());
  const Outcome again = run_program(folder.path(), "run again.json --format json");
  REQUIRE(again.exit_code == 0);
  CHECK(nlohmann::json::parse(again.out).at("metrics") == result.at("metrics"));
}

TEST_CASE_METHOD(Small, "set: changes one value") {
  const double before = metric(run_json(folder), "step_time");
  const auto longer = run_json(folder, "--set /step/decode/context=8192");
  CHECK(metric(longer, "step_time") > before);
  CHECK(longer.at("scenario").at("step").at("decode").at("context") == 8192);
  CHECK(run_program(folder.path(), "run small.json --set nonsense").err ==
        "error: --set nonsense: expected /json/pointer=value\n");
}

TEST_CASE_METHOD(Small, "fidelity: links by themselves take about as long here, and the difference is said") {
  const auto flow = run_json(folder);
  const auto bound = run_json(folder, "--fidelity bound");
  CHECK(flow.at("scenario").at("fidelity") == "flow");
  CHECK(bound.at("scenario").at("fidelity") == "bound");
  CHECK_FALSE(flow.at("metrics").contains("bound_distance"));
  const double time = metric(bound, "step_time");
  CHECK(time == Approx(metric(flow, "step_time")).epsilon(0.02));  // the network is a small part of it
  CHECK(time != metric(flow, "step_time"));
  CHECK(std::abs(metric(bound, "bound_distance")) < 0.02);
  CHECK(metric(bound, "bytes_inter_node") == metric(flow, "bytes_inter_node"));
  CHECK(run_json(folder, "--set /fidelity=bound").at("metrics") == bound.at("metrics"));
  const Outcome table = run_program(folder.path(), "run small.json --fidelity bound");
  // Its first two layers, which are MoE layers.
  CHECK(table.out.find("with it layers 0 to 1 would take") != std::string::npos);
  const Outcome parallel =
      run_program(folder.path(), "run small.json --fidelity bound --set /parallelism/tensor_parallel=2");
  CHECK(parallel.exit_code == 0);
  CHECK(parallel.out.find("with it layers 0 to 1 would take") != std::string::npos);
  CHECK(run_program(folder.path(), "run small.json --fidelity packet").exit_code == 2);
}

TEST_CASE_METHOD(Small, "out: writes result and timeline") {
  REQUIRE(run_program(folder.path(), "run small.json --out results").exit_code == 0);
  const auto trace = nlohmann::json::parse(read_file(folder.path() / "results/timeline.json"));
  CHECK(trace.at("traceEvents").size() > 8 * 16);
  const auto result = nlohmann::json::parse(read_file(folder.path() / "results/result.json"));
  double last = 0.0;
  for (const auto& event : trace.at("traceEvents")) {
    if (event.at("ph") == "X") {
      last = std::max(last, event.at("ts").get<double>() + event.at("dur").get<double>());
    }
  }
  CHECK(last * 1e-6 == Approx(metric(result, "step_time")).epsilon(1e-9));
}

TEST_CASE("list, show, schema and check know every kind") {
  const ScratchFolder folder;
  for (const char* kind : {"models", "accelerators", "nics", "clusters", "profiles", "generators", "scenarios"}) {
    INFO(kind);
    const Outcome listed = run_program(folder.path(), std::string("list ") + kind + " --format json");
    REQUIRE(listed.exit_code == 0);
    const auto rows = nlohmann::json::parse(listed.out);
    REQUIRE_FALSE(rows.empty());
    CHECK(run_program(folder.path(), std::string("schema ") + kind).exit_code == 0);
    for (const auto& row : rows) {
      const auto name = row.at("name").get<std::string>();
      INFO(name);
      const Outcome shown = run_program(folder.path(), std::string("show ") + kind + " " + name + " --format json");
      REQUIRE(shown.exit_code == 0);
      write_file(folder.path() / "entry.json", shown.out);
      const Outcome checked = run_program(folder.path(), "check entry.json");
      INFO(checked.out);
      CHECK(checked.exit_code == 0);
    }
  }
  CHECK(run_program(folder.path(), "list modles").err.find("did you mean \"models\"?") != std::string::npos);
  CHECK(run_program(folder.path(), "list modles").exit_code == 2);
  CHECK(run_program(folder.path(), "show models deepseek-v3").out.find("671") != std::string::npos);
  CHECK(run_program(folder.path(), "show accelerators h200-sxm").out.find("UNVERIFIED") != std::string::npos);
}

TEST_CASE("help and bad options") {
  const ScratchFolder folder;
  CHECK(run_program(folder.path(), "--help").exit_code == 0);
  CHECK(run_program(folder.path(), "run --help").exit_code == 0);
  CHECK(run_program(folder.path(), "--version").out == "0.1.0\n");
  CHECK(run_program(folder.path(), "").exit_code == 2);
  CHECK(run_program(folder.path(), "rnu").exit_code == 2);
  CHECK(run_program(folder.path(), "run --threads 0 x.json").exit_code == 2);
}

// What is asked for stands in the heading and in the resolved scenario; the parts still add up.
TEST_CASE_METHOD(Small, "run: a step in two micro-batches") {
  const std::string split = "--set /step/decode/micro_batches=2";
  const Outcome table = run_program(folder.path(), "run small.json " + split);
  REQUIRE(table.exit_code == 0);
  CHECK(table.out.find("decode, 16 sequences per data-parallel rank, context 1,024, in 2 micro-batches\n") !=
        std::string::npos);
  const auto result = run_json(folder, split);
  CHECK(result.at("scenario").at("step").at("decode").at("micro_batches") == 2);
  double sum = 0.0;
  for (const auto& row : result.at("attribution")) {
    sum += row.at("value").get<double>();
    if (row.at("category") == "exposed dispatch") {
      CHECK(row.at("definition") ==
            "waiting for tokens that everybody has sent, or has ready behind the other micro-batch's; kernels that "
            "only send "
            "or receive them (low latency)");
    }
  }
  CHECK(sum == Approx(result.at("metrics").at("step_time").at("value").get<double>()).epsilon(1e-9));
  CHECK(run_json(folder).at("scenario").at("step").at("decode").contains("micro_batches") == false);
  const Outcome one = run_program(folder.path(), "run small.json --format json --threads 1 " + split);
  CHECK(one.out == run_program(folder.path(), "run small.json --format json --threads 2 " + split).out);
}

TEST_CASE_METHOD(Small, "run: a model without experts has nothing to split its batch for") {
  write_file(folder.path() / "config.json", R"({"model_type": "llama", "hidden_size": 1024, "intermediate_size": 4096,
    "num_attention_heads": 16, "num_key_value_heads": 8, "num_hidden_layers": 4, "vocab_size": 32000})");
  const Outcome outcome = run_program(
      folder.path(),
      "run small.json --set '/model={\"huggingface\": \"config.json\"}' --set /step/decode/micro_batches=2");
  CHECK(outcome.exit_code == 2);
  CHECK(outcome.err.find("/step/decode/micro_batches: expected 1, since the model has no experts, so that nothing is "
                         "dispatched; found 2") != std::string::npos);
}

TEST_CASE("schema: micro-batches are described") {
  const ScratchFolder scratch;
  const Outcome schema = run_program(scratch.path(), "schema scenario");
  REQUIRE(schema.exit_code == 0);
  CHECK(schema.out.find("SGLang's two-batch overlap, vLLM's dual-batch overlap") != std::string::npos);
}
