// Uneven all-to-alls here and in SimGrid, in the same run: counters `here` and `simgrid` are seconds, `ratio` is how
// many times as long SimGrid takes. 256 GPUs and more take SimGrid a quarter of an hour: MOESIM_SIMGRID_GPUS=256 adds
// them. What is timed is the simulation alone: the platform of SimGrid and the list of flows are made before.
//
// With an epsilon, more GPUs than SimGrid bears stand beside its time for 128, non-blocking, as a measure of the
// machine. Where that took 27.8 s, 256 GPUs were to take 50 ms and 1,024 GPUs 1 s: ratios of 556 and 28.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "sim/fluid/known_flows.hpp"
#include "tests/oracle/fluid/simgrid/network_case.hpp"
#include "tests/oracle/fluid/simgrid/simgrid_run.hpp"

namespace moesim {
namespace {

using oracle::Fabric;
using oracle::NetworkCase;

/// The shortest of several runs.
template <typename Run>
double shortest(int runs, const Run& run) {
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < runs; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    benchmark::DoNotOptimize(run());
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return best;
}

/// Measured when first asked for.
double seconds_in_simgrid(std::uint32_t gpus, Fabric fabric) {
  static std::map<std::pair<std::uint32_t, Fabric>, double> known;
  double& seconds = known[{gpus, fabric}];
  if (seconds == 0.0) {
    const std::vector<NetworkCase> cases{oracle::skewed_all_to_all(gpus, fabric, 1)};
    seconds = oracle::run_in_simgrid(cases, oracle::SimgridPrecision::kDefault).wall_seconds;
  }
  return seconds;
}

void network_against_simgrid(benchmark::State& state, Fabric fabric) {
  const auto gpus = static_cast<std::uint32_t>(state.range(0));
  const NetworkCase network = oracle::skewed_all_to_all(gpus, fabric, 1);
  for (auto _ : state) {
    const double here = shortest(5, [&] { return oracle::finish_times(network); });
    const double simgrid = seconds_in_simgrid(gpus, fabric);
    state.SetIterationTime(simgrid);
    state.counters["here"] = here;
    state.counters["simgrid"] = simgrid;
    state.counters["ratio"] = simgrid / here;
  }
}

/// As long as SimGrid bears it.
void sizes(benchmark::internal::Benchmark* bench, std::int64_t largest) {
  const char* wanted = std::getenv("MOESIM_SIMGRID_GPUS");
  if (wanted != nullptr) {
    largest = std::max<std::int64_t>(largest, std::stol(wanted));
  }
  for (std::int64_t gpus = 32; gpus <= largest; gpus *= 2) {
    bench->Arg(gpus);
  }
  bench->Iterations(1)->UseManualTime()->Unit(benchmark::kSecond);
}

BENCHMARK_CAPTURE(network_against_simgrid, non_blocking, Fabric::kNonBlocking)->Apply([](auto* bench) {
  sizes(bench, 128);
});
BENCHMARK_CAPTURE(network_against_simgrid, leaf_spine, Fabric::kLeafSpine)->Apply([](auto* bench) {
  sizes(bench, 64);
});

void bounded_against_simgrid(benchmark::State& state, Fabric fabric) {
  const NetworkCase network = oracle::skewed_all_to_all(static_cast<std::uint32_t>(state.range(0)), fabric, 1);
  std::vector<std::vector<Use>> uses;
  for (const oracle::NetworkFlow& flow : network.flows) {
    std::vector<Use>& of_flow = uses.emplace_back();
    for (const std::uint32_t link : flow.route) {
      of_flow.push_back({ResourceId(link)});
    }
  }
  std::vector<KnownFlow> flows;
  for (std::size_t i = 0; i < network.flows.size(); ++i) {
    flows.push_back({.amount = static_cast<double>(network.flows[i].bytes), .uses = uses[i]});
  }
  for (auto _ : state) {
    const double here = shortest(3, [&] { return share_known_flows(network.capacities, flows, {.epsilon = 0.01}); });
    const double simgrid = seconds_in_simgrid(128, Fabric::kNonBlocking);
    state.SetIterationTime(here);
    state.counters["here"] = here;
    state.counters["simgrid_128"] = simgrid;
    state.counters["ratio"] = simgrid / here;
  }
}
void both_sizes(benchmark::internal::Benchmark* bench) {
  bench->Arg(256)->Arg(1024)->Iterations(1)->UseManualTime()->Unit(benchmark::kMillisecond);
}
BENCHMARK_CAPTURE(bounded_against_simgrid, non_blocking, Fabric::kNonBlocking)->Apply(both_sizes);
BENCHMARK_CAPTURE(bounded_against_simgrid, leaf_spine, Fabric::kLeafSpine)->Apply(both_sizes);

}  // namespace
}  // namespace moesim
