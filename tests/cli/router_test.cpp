#include <algorithm>
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "program.hpp"
#include "sim/core/file.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

using Json = nlohmann::ordered_json;

/// OLMoE, 64 experts on eight GPUs; what routes is put in by the tests.
std::string scenario(const std::string& routing, const std::string& dispatch = "{}") {
  return R"({"schema": "moesim.scenario/1", "model": "olmoe-1b-7b",
    "cluster": {"catalogue": {"name": "hgx-h200", "nodes": 1}}, "parallelism": {"ranks": 8},
    "step": {"prefill": {"sequences_per_dp_rank": 1, "prompt": 512}}, "routing": )" +
         routing + R"(, "dispatch": )" + dispatch + "}";
}

Json run(const ScratchFolder& scratch, const std::string& text) {
  write_file(scratch.path() / "s.json", text);
  const Outcome outcome = run_program(scratch.path(), "run s.json --format json --threads 1");
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  return Json::parse(outcome.out);
}

double metric(const Json& json, const char* name) { return json.at("metrics").at(name).at("value").get<double>(); }

}  // namespace

TEST_CASE("routers: listed with their sources, shown with their options") {
  const ScratchFolder scratch;
  const Outcome list = run_program(scratch.path(), "list routers");
  CHECK(list.exit_code == 0);
  for (const char* name : {"soft", "noisy-top-k", "hierarchical", "gshard", "switch", "base", "sinkhorn", "hash",
                           "expert-choice", "v-moe", "routing-network", "mixtral", "deepseek-v3", "arctic"}) {
    CHECK(("\n" + list.out).find("\n" + std::string(name) + " ") != std::string::npos);
  }
  CHECK(list.out.find("arXiv 2101.03961") != std::string::npos);
  const Outcome show = run_program(scratch.path(), "show router deepseek-v3");
  CHECK(show.exit_code == 0);
  CHECK(show.out.find("groups_per_token") != std::string::npos);
  CHECK(show.out.find("2.5") != std::string::npos);
}

TEST_CASE("routers: generate routes text into a file that info reads") {
  const ScratchFolder scratch;
  const std::string command =
      "trace generate --router deepseek-v3 --experts 32 --top-k 4 --layers 3 --tokens 600 -o t.npy";
  const Outcome outcome = run_program(scratch.path(), command);
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  CHECK(outcome.out ==
        "t.npy: 600 tokens, 3 layers, up to 4 of 32 experts; routed by deepseek-v3, scores of a token "
        "model of 32768 words and 64 topics; 0.00 % of choices dropped\n");
  const Outcome info = run_program(scratch.path(), "trace info t.npy --format json");
  REQUIRE(info.exit_code == 0);
  const Json json = Json::parse(info.out);
  CHECK(json.at("layers").size() == 3);
  CHECK(json.at("layers").at(0).at("choices") == 2400);
  // The same seed, the same file; another, another.
  const std::string first = read_file(scratch.path() / "t.npy");
  run_program(scratch.path(), command + " --threads 2");
  CHECK(read_file(scratch.path() / "t.npy") == first);
  run_program(scratch.path(), command + " --seed 2");
  CHECK(read_file(scratch.path() / "t.npy") != first);
}

TEST_CASE("routers: training is shown and logged") {
  const ScratchFolder scratch;
  const Outcome outcome = run_program(
      scratch.path(),
      "trace generate --router switch --experts 16 --layers 2 --tokens 300 --train-steps 40 "
      "--options '{\"balance_loss\": 0.1}' --set /training/batch_tokens=128 --training-log log.csv -o t.npy");
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  CHECK(outcome.out.starts_with("training with losses balance 0.1, skill 0.03; mean over layers\n"));
  CHECK(outcome.out.find("dropped after training, by an expert's rows over choices/experts: 1: ") != std::string::npos);
  const std::string log = read_file(scratch.path() / "log.csv");
  CHECK(std::count(log.begin(), log.end(), '\n') == 1 + 40 * 2);
}

TEST_CASE("routers: generate says what it lacks") {
  const ScratchFolder scratch;
  const auto fault = [&](const std::string& arguments) {
    const Outcome outcome = run_program(scratch.path(), "trace generate --tokens 4 -o t.npy " + arguments);
    CHECK(outcome.exit_code == 2);
    return outcome.err;
  };
  CHECK(fault("").find("trace generate: expected either --like or --router (or --model, whose router it is), found "
                       "neither") != std::string::npos);
  CHECK(fault("--router swich").find("did you mean \"switch\"?") != std::string::npos);
  CHECK(fault("--router switch --options '{\"capacity_facto\": 1}'").find("did you mean \"capacity_factor\"?") !=
        std::string::npos);
  CHECK(fault("--router mixtral --experts 4 --top-k 5").find("--top-k: expected at most the 4 experts, found 5") !=
        std::string::npos);
  CHECK(fault("--like deepseek-v3-decode --set /correlation/repeat=0").find("--set: expected with --router") !=
        std::string::npos);
  CHECK(fault("--router switch --training-log x.csv").find("--training-log: expected with --train-steps") !=
        std::string::npos);
  CHECK(run_program(scratch.path(), "trace generate --tokens 4 -o t.npy --router glam --top-k 3")
            .err.starts_with("warning: --top-k 3: this router says itself"));
  CHECK(fault("--model olmoe-1b-7b --options '{}'").find("--options: expected --router beside it") !=
        std::string::npos);
}

TEST_CASE("routers: a scenario's steps are routed, dropped and padded, and that costs") {
  const ScratchFolder scratch;
  const std::string switching = R"({"router": {"gate": {"switch": {"capacity_factor": 1, "padded": )";
  const Json padded = run(scratch, scenario(switching + "true}}}}"));
  const Json bare = run(scratch, scenario(switching + "false}}}}"));
  CHECK(metric(padded, "dropped_choices") > 0.0);
  CHECK(metric(padded, "dropped_choices") == metric(bare, "dropped_choices"));
  // Top-1: a token whose choice is dropped goes to no expert.
  CHECK(metric(padded, "unserved_tokens") == Approx(metric(padded, "dropped_choices")));
  // 4,096 tokens in groups of 1,024: 16 rows for each of 64 experts from each of four groups, so 64 rows an expert and
  // as many in all as there are tokens; those of dropped tokens stay empty.
  CHECK(metric(padded, "padding_rows") == Approx(metric(padded, "dropped_choices")));
  CHECK_FALSE(bare.at("metrics").contains("padding_rows"));
  CHECK(metric(padded, "flops") > metric(bare, "flops"));
  CHECK(metric(padded, "bytes_intra_node") > metric(bare, "bytes_intra_node"));
  CHECK(padded.at("routing") == "routed by switch, scores of a token model of 32768 words and 64 topics");
  // Twice the capacity, twice the rows.
  const Json roomy = run(scratch, scenario(R"({"router": {"gate": {"switch": {"capacity_factor": 2}}}})"));
  CHECK(metric(roomy, "dropped_choices") < metric(padded, "dropped_choices"));
  CHECK(metric(roomy, "bytes_intra_node") == Approx(2.0 * metric(padded, "bytes_intra_node")));
  CHECK(metric(roomy, "step_time") > metric(padded, "step_time"));
}

TEST_CASE("routers: tiles of a dropless dispatch cost rows, not bytes") {
  const ScratchFolder scratch;
  const std::string routing = R"({"router": {}})";  // OLMoE's own
  const Json plain = run(scratch, scenario(routing));
  const Json tiled = run(scratch, scenario(routing, R"({"expert_row_tile": 128})"));
  CHECK(metric(plain, "dropped_choices") == 0.0);
  CHECK(metric(tiled, "padding_rows") > 0.0);
  CHECK(metric(tiled, "flops") > metric(plain, "flops"));
  CHECK(metric(tiled, "bytes_intra_node") == metric(plain, "bytes_intra_node"));
}

TEST_CASE("routers: the table says what was dropped and padded") {
  const ScratchFolder scratch;
  write_file(scratch.path() / "s.json", scenario(R"({"router": {"gate": "switch"}})"));
  const Outcome outcome = run_program(scratch.path(), "run s.json");
  REQUIRE(outcome.exit_code == 0);
  CHECK(outcome.err.empty());
  CHECK(outcome.out.find("dropped by the router") != std::string::npos);
  CHECK(outcome.out.find("of the experts' rows") != std::string::npos);
}

TEST_CASE("routers: soft gating computes every expert for every token") {
  const ScratchFolder scratch;
  const Json soft = run(scratch, scenario(R"({"router": {"gate": "soft"}})"));
  CHECK(metric(soft, "load_imbalance_worst") == 1.0);
  CHECK(metric(soft, "flops") > metric(run(scratch, scenario(R"({"uniform": {}})")), "flops"));
}

TEST_CASE("routers: dropped choices are written as -1, which info is told of and a model with capacity expects") {
  const ScratchFolder scratch;
  const Outcome made =
      run_program(scratch.path(), "trace generate --router switch --model switch-base-128 --tokens 1024 -o t.npy");
  INFO(made.err);
  REQUIRE(made.exit_code == 0);
  CHECK(made.out.find("empty slots are -1, which `trace info --dropped` reads") != std::string::npos);
  const Outcome refused = run_program(scratch.path(), "trace info t.npy");
  CHECK(refused.exit_code == 2);
  CHECK(refused.err.find("trace info --dropped") != std::string::npos);
  const Outcome info = run_program(scratch.path(), "trace info t.npy --dropped");
  INFO(info.err);
  CHECK(info.exit_code == 0);
  CHECK(info.out.find("% of choices were dropped (-1)") != std::string::npos);
  write_file(scratch.path() / "s.json", R"({"schema": "moesim.scenario/1", "model": "switch-base-128",
    "cluster": "hgx-h100", "parallelism": {"ranks": 8}, "step": {"prefill": {"sequences_per_dp_rank": 1,
    "prompt": 128}}, "routing": {"trace": {"path": "t.npy"}}})");
  const Outcome run = run_program(scratch.path(), "run s.json");
  INFO(run.err);
  CHECK(run.exit_code == 0);
}
