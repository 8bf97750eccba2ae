// Uneven all-to-alls here and in SimGrid, in the same run: counters `here` and `simgrid` are seconds, `ratio` is how
// many times as long SimGrid takes. 256 GPUs and more take SimGrid a quarter of an hour: MOESIM_SIMGRID_GPUS=256 adds
// them. What is timed is the simulation alone: the platform of SimGrid and the list of flows are made before.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "tests/oracle/fluid/simgrid/network_case.hpp"
#include "tests/oracle/fluid/simgrid/simgrid_run.hpp"

namespace moesim {
namespace {

using oracle::Fabric;
using oracle::NetworkCase;

/// The shortest of several runs.
double seconds_here(const NetworkCase& network) {
  constexpr int kRuns = 5;
  double best = std::numeric_limits<double>::infinity();
  for (int run = 0; run < kRuns; ++run) {
    const auto begin = std::chrono::steady_clock::now();
    benchmark::DoNotOptimize(oracle::finish_times(network));
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return best;
}

void network_against_simgrid(benchmark::State& state, Fabric fabric) {
  const std::vector<NetworkCase> cases{
      oracle::skewed_all_to_all(static_cast<std::uint32_t>(state.range(0)), fabric, 1)};
  for (auto _ : state) {
    const double here = seconds_here(cases.front());
    const double simgrid = oracle::run_in_simgrid(cases, oracle::SimgridPrecision::kDefault).wall_seconds;
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

}  // namespace
}  // namespace moesim
