// How long the shipped DeepSeek-V3 decode step takes to simulate once its routing is drawn and its program built: 116
// dispatches and combines of generated routing as uneven as a recording, on 32 GPUs with DeepEP's normal kernels and on
// 256 with its low-latency ones, with transfers that share links and with each link by itself; and, where every layer
// does the same, with balanced routing.
#include <benchmark/benchmark.h>

#include <memory>

#include "sim/config/catalogue.hpp"
#include "sim/config/decode.hpp"
#include "sim/core/task_pool.hpp"
#include "sim/execute/execute.hpp"
#include "sim/program/step.hpp"
#include "sim/scenario/run.hpp"
#include "sim/scenario/scenario.hpp"

namespace moesim {
namespace {

enum class Routing { kLikeRecorded, kBalanced };

Scenario decode_step(std::int64_t ranks, DispatchProtocol protocol, Routing routing) {
  auto scenario = decode_document<Scenario>(scenario_catalogue().find("deepseek-v3-decode-h200", {}));
  scenario.cluster = CatalogueCluster{"hgx-h200", static_cast<std::size_t>(ranks) / 8};
  scenario.parallelism.ranks = ranks;
  scenario.dispatch.protocol = protocol;
  if (routing == Routing::kBalanced) {
    scenario.routing = BalancedRouting{};
  }
  return scenario;
}

void execution(benchmark::State& state, DispatchProtocol protocol, Fidelity fidelity,
               Routing of = Routing::kLikeRecorded) {
  const TaskPool pool(1);
  const PreparedStep step = prepare_step(decode_step(state.range(0), protocol, of), {"benchmark", {}});
  const auto costs = make_cost_model(step.profile, step.cluster.accelerator());
  const StepRouting routing = step.routing->draw(token_batch(step), step.scenario.seed, pool);
  StepPlan plan = step_plan(step, *costs);
  plan.routing = &routing;
  const StepProgram built = build_step(plan, pool);
  Execution result;
  for (auto _ : state) {
    result = execute(built.program, step.cluster, *costs, step.profile.communication, fidelity);
    benchmark::DoNotOptimize(result);
  }
  double transfers = 0.0;
  for (const Exchange& exchange : built.program.exchanges) {
    transfers += static_cast<double>(exchange.transfers.size());
  }
  state.counters["transfers"] = transfers;
  state.counters["step_ms"] = result.end.duration().base() * 1e3;
  state.counters["bound_distance"] = result.distance ? result.distance->longer : 0.0;
}
BENCHMARK_CAPTURE(execution, normal_flow, DispatchProtocol::kDeepEpNormal, Fidelity::kFlow)
    ->Arg(32)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(execution, normal_bound, DispatchProtocol::kDeepEpNormal, Fidelity::kBound)
    ->Arg(32)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(execution, low_latency_flow, DispatchProtocol::kDeepEpLowLatency, Fidelity::kFlow)
    ->Arg(32)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(execution, low_latency_bound, DispatchProtocol::kDeepEpLowLatency, Fidelity::kBound)
    ->Arg(32)
    ->Arg(256)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(execution, low_latency_balanced_flow, DispatchProtocol::kDeepEpLowLatency, Fidelity::kFlow,
                  Routing::kBalanced)
    ->Arg(32)
    ->Arg(256)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace moesim
