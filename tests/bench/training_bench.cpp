// How long it takes to lay out and simulate what four of DeepSeek-V3's layers do with a micro-batch of 4096 tokens a
// rank in training, on 64 H800 with DeepEP's normal kernels: a pass by itself, and a forward and a backward pass beside
// each other, with perfectly balanced routing, as DeepSeek profiled such a pair (deepseek-ai/profile-data, README,
// "Training"). pass_ms is the simulated time.
#include <benchmark/benchmark.h>

#include <memory>
#include <string>

#include "sim/config/catalogue.hpp"
#include "sim/config/decode.hpp"
#include "sim/core/task_pool.hpp"
#include "sim/execute/execute.hpp"
#include "sim/program/training_pass.hpp"
#include "sim/scenario/run.hpp"
#include "sim/scenario/scenario.hpp"

namespace moesim {
namespace {

PreparedStep prepared(const std::string& kernels) {
  auto document = scenario_catalogue().find("deepseek-v3-prefill-h200", {});
  document.set("/cluster={\"catalogue\":{\"name\":\"hgx-h800\",\"nodes\":8}}");
  document.set("/parallelism={\"ranks\":64}");
  document.set("/placement={\"strategy\":\"contiguous\"}");
  document.set("/step={\"prefill\":{\"sequences_per_dp_rank\":1,\"prompt\":4096}}");
  document.set("/routing={\"balanced\":{}}");
  document.set("/kernels=\"" + kernels + "\"");
  return prepare_step(decode_document<Scenario>(document), {"benchmark", {}});
}

void pass_of_four_layers(benchmark::State& state, Pass pass, const std::string& kernels) {
  const TaskPool pool(1);
  const PreparedStep step = prepared(kernels);
  const auto costs = make_cost_model(step.profile, step.cluster.accelerator());
  const StepRouting routing = step.routing->draw(token_batch(step), step.scenario.seed, pool);
  ChunkPlan plan;
  plan.model = &step.model;
  plan.cluster = &step.cluster;
  plan.placement = &step.placement;
  plan.routing = &routing;
  plan.ranks = 64;
  plan.first_layer = 20;
  plan.last_layer = 24;
  plan.precision.weights = DataType::kFp8Block;
  plan.precision.dispatch = DataType::kFp8Block;
  plan.gradients.dispatch = DataType::kFp8Block;
  plan.sequence_length = 4096;
  plan.communication_units = 20;
  plan.recompute = Recompute::kSelective;
  plan.weight_gradients = WeightGradients::kBesideExchange;
  Execution result;
  ChunkProgram built;
  for (auto _ : state) {
    built = pass == Pass::kForwardBackward ? build_overlapped(plan, plan, pool) : build_pass(plan, pass, pool);
    result = execute(built.program, step.cluster, *costs, step.profile.communication);
    benchmark::DoNotOptimize(result);
  }
  state.counters["pass_ms"] = result.end.duration().base() * 1e3;
  state.counters["model_tflop_s_gpu"] =
      built.model_work.base() / static_cast<double>(plan.ranks) / result.end.duration().base() * 1e-12;
}
BENCHMARK_CAPTURE(pass_of_four_layers, forward, Pass::kForward, "h100-trtllm")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(pass_of_four_layers, backward, Pass::kBackward, "h100-trtllm")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(pass_of_four_layers, input, Pass::kBackwardInput, "h100-trtllm")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(pass_of_four_layers, weight, Pass::kBackwardWeight, "h100-trtllm")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(pass_of_four_layers, overlapped, Pass::kForwardBackward, "h100-trtllm")
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace moesim
