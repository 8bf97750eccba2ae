#include <catch2/catch.hpp>

#include "scenarios.hpp"
#include "sim/core/file.hpp"
#include "sim/execute/execute.hpp"
#include "tests/scratch.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

const std::string kSplit = "/step/decode/micro_batches=2";

std::vector<std::string> with(std::vector<std::string> assignments, const std::string& more) {
  assignments.push_back(more);
  return assignments;
}

/// Decode and prefill of OLMoE on two nodes, by two protocols each.
const std::vector<std::vector<std::string>> kRuns{
    {"/dispatch={\"protocol\":\"deepep-low-latency\"}"},
    {"/dispatch={\"protocol\":\"deepep-normal\"}"},
    {"/dispatch={\"protocol\":\"all-gather\"}"},
    {"/dispatch={\"protocol\":\"naive\"}", "/step/decode/sequences_per_dp_rank=33"},
    {"/dispatch={\"protocol\":\"deepep-normal\"}", "/parallelism/tensor_parallel=2"}};

/// The step of a scenario where nothing takes time but kernels.
SimTime time_of_kernels(const std::vector<std::string>& assignments) {
  Document document = Document::parse("scenario", kTwoNodes);
  for (const std::string& assignment : assignments) {
    document.set(assignment);
  }
  const Scenario scenario = decode_document<Scenario>(document);
  const PreparedStep step = prepare_step(scenario, {"scenario", ""});
  const auto costs = make_cost_model(step.profile, step.cluster.accelerator());
  const StepRouting routing = step.routing->draw(token_batch(step), scenario.seed, TaskPool(1));
  StepPlan plan = step_plan(step, *costs);
  plan.routing = &routing;
  Program program = build_step(plan, TaskPool(1)).program;
  for (auto& stream : program.ranks) {
    std::erase_if(stream,
                  [](const Instruction& instruction) { return !std::holds_alternative<RunKernel>(instruction); });
  }
  program.exchanges.clear();
  return execute(program, step.cluster, *costs, step.profile.communication).end;
}

}  // namespace

// Each token goes where it went before. Only in groups of two ranks may the other one have it: what stays in a node
// then takes other hops there.
TEST_CASE("micro-batches send the bytes of the whole, and all their time is attributed") {
  for (const auto& assignments : kRuns) {
    INFO(assignments.front());
    const StepResult whole = run_text(kTwoNodes, assignments);
    const StepResult split = run_text(kTwoNodes, with(assignments, kSplit));
    CHECK(split.execution.bytes_inter_node == Approx(whole.execution.bytes_inter_node).epsilon(1e-9));
    const double other_hops = whole.scenario.parallelism.tensor_parallel > 1 ? 0.01 : 1e-9;
    CHECK(split.execution.bytes_intra_node == Approx(whole.execution.bytes_intra_node).epsilon(other_hops));
    CHECK(step_imbalance(split).mean == Approx(step_imbalance(whole).mean).epsilon(1e-9));
    CHECK(split.model_work.base() == Approx(whole.model_work.base()).epsilon(1e-12));
    std::int64_t ticks = 0;
    for (const SimTime part : attribution(split.execution)) {
      ticks += part.ticks();
    }
    CHECK(ticks == split.execution.end.ticks());
  }
}

// Weights are read twice, fixed times are paid twice: without communication two halves never take less than the whole.
TEST_CASE("where communication is free, splitting gains nothing") {
  for (const auto& assignments : kRuns) {
    for (const char* sequences : {"2", "16", "128", "512"}) {
      std::vector<std::string> sized =
          with(assignments, std::string("/step/decode/sequences_per_dp_rank=") + sequences);
      INFO(assignments.front() << ", " << sequences);
      CHECK(time_of_kernels(with(sized, kSplit)) >= time_of_kernels(sized));
    }
  }
}

// No less than the kernels of the halves, no less than what has to be sent by itself.
TEST_CASE("a step in micro-batches is no shorter than its kernels") {
  for (const auto& assignments : kRuns) {
    const auto split = with(assignments, kSplit);
    CHECK(run_text(kTwoNodes, split).execution.end >= time_of_kernels(split));
  }
}

TEST_CASE("one prompt is cut in two, an odd number of sequences in unequal halves") {
  const std::string prefill = R"(/step={"prefill": {"sequences_per_dp_rank": 1, "prompt": 4096, "micro_batches": 2}})";
  const std::string dispatch = R"(/dispatch={"protocol": "deepep-normal"})";
  const StepResult cut = run_text(kTwoNodes, {prefill, dispatch});
  const StepResult whole =
      run_text(kTwoNodes, {R"(/step={"prefill": {"sequences_per_dp_rank": 1, "prompt": 4096}})", dispatch});
  // The pairs of query and key are the same, and so is what is multiplied.
  CHECK(cut.execution.work.base() == Approx(whole.execution.work.base()).epsilon(1e-3));
  CHECK(cut.execution.end < whole.execution.end);
  CHECK(run_text(kTwoNodes, {"/step/decode/sequences_per_dp_rank=3", kSplit}).tokens == 48);
}

TEST_CASE("fidelity bound runs micro-batches, and says what it leaves out of their first layers") {
  const std::vector<std::string> split{kSplit, R"(/dispatch={"protocol": "deepep-normal"})", "/fidelity=bound"};
  const StepResult bound = run_text(kTwoNodes, split);
  const StepResult flow = run_text(kTwoNodes, {split[0], split[1]});
  CHECK(step_time(bound) <= step_time(flow) * 1.01);
  CHECK(step_time(bound) >= step_time(flow) * 0.7);
  REQUIRE(bound.execution.distance);
  CHECK(std::abs(bound.execution.distance->longer) < 0.3);
}

// Activations of half as many tokens, the other half's rows beside them; DeepEP's low-latency buffers are two anyway.
TEST_CASE("micro-batches take less memory") {
  const StepResult whole = run_text(kTwoNodes);
  const StepResult split = run_text(kTwoNodes, {kSplit});
  CHECK(split.memory[0].activations < whole.memory[0].activations);
  CHECK(split.memory[0].communication_buffers < whole.memory[0].communication_buffers);
  CHECK(split.memory[0].kv_cache == whole.memory[0].kv_cache);
}

TEST_CASE("micro-batches are refused where the layers with experts do not run in the phase") {
  // Switch-Base-128 with experts in its encoder only.
  Json model = Json::parse(model_catalogue().find("switch-base-128", {}).root().dump());
  model["blocks"]["decoder-moe"] = model["blocks"]["decoder-dense"];
  model.erase("published");
  const auto path = scratch_path("micro_batch_model.json");
  write_file(path, model.dump());
  const auto fault = [&](const std::string& step) -> std::string {
    try {
      run_text(R"({"schema": "moesim.scenario/1", "model": {"file": ")" + path.string() +
               R"("}, "cluster": "hgx-h200", "parallelism": {"ranks": 8}, "routing": {"uniform": {}}, "step": )" +
               step + "}");
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "none";
  };
  CHECK(fault(R"({"prefill": {"sequences_per_dp_rank": 8, "prompt": 64, "micro_batches": 2}})") == "none");
  CHECK(fault(R"({"decode": {"sequences_per_dp_rank": 8, "context": 64, "micro_batches": 2}})") ==
        "scenario#/step/decode/micro_batches: expected 1, since no layer with experts runs in this phase, so that "
        "nothing is dispatched; found 2");
  std::filesystem::remove(path);
}

TEST_CASE("micro-batches of a library's collectives warn that what these take is not known") {
  const auto warned = [](const std::string& protocol) {
    const StepResult result = run_text(kTwoNodes, {"/dispatch={\"protocol\":\"" + protocol + "\"}", kSplit});
    return std::count_if(result.warnings.begin(), result.warnings.end(), [](const std::string& warning) {
      return warning.find("take from kernels beside them") != std::string::npos;
    });
  };
  CHECK(warned("naive") == 1);
  CHECK(warned("all-gather") == 1);
  CHECK(warned("deepep-normal") == 0);
}

TEST_CASE("a timeline tells micro-batches apart in the layers with experts, and nowhere else") {
  const StepResult whole = run_text(kTwoNodes);
  const StepResult split = run_text(kTwoNodes, {kSplit});
  for (std::size_t rank = 0; rank < 16; ++rank) {
    const auto of = [&](const StepResult& result, int micro_batch, StepOperator op) {
      const auto& timeline = result.execution.timeline[rank];
      return std::count_if(timeline.begin(), timeline.end(), [&](const Segment& segment) {
        return segment.micro_batch == micro_batch && segment.op == op && segment.category != TimeCategory::kOverhead;
      });
    };
    // OLMoE's 16 layers all have experts; a kernel of them runs in each, of each part.
    CHECK(of(whole, 0, StepOperator::kExperts) > 0);
    CHECK(of(split, 0, StepOperator::kExperts) == 0);
    CHECK(of(split, 1, StepOperator::kExperts) == of(whole, 0, StepOperator::kExperts));
    CHECK(of(split, 2, StepOperator::kExperts) == of(whole, 0, StepOperator::kExperts));
    CHECK(of(split, 0, StepOperator::kLmHead) == of(whole, 0, StepOperator::kLmHead));
    CHECK(of(split, 1, StepOperator::kLmHead) + of(split, 2, StepOperator::kLmHead) == 0);
  }
}
