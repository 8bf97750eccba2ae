#include <benchmark/benchmark.h>

#include <cmath>
#include <string>

#include "sim/core/random.hpp"
#include "sim/placement/placement.hpp"

using namespace moesim;

namespace {

/// Log-normal loads with the spread of recorded DeepSeek-V3 counts (about 1).
std::vector<double> loads_of(std::size_t layers, std::size_t experts) {
  std::vector<double> loads(layers * experts);
  RandomStream random(1, "bench.loads");
  for (double& load : loads) {
    load = 1000.0 * std::exp(random.normal());
  }
  return loads;
}

/// 58 layers, 256 experts, 288 slots, 32 ranks in nodes of 8: DeepSeek-V3 at EP32.
void place(benchmark::State& state, const char* strategy) {
  const std::vector<double> loads = loads_of(58, 256);
  PlacementProblem problem{.layers = 58, .experts = 256, .ranks = 32, .seed = 1, .redundant = 32, .ranks_per_node = 8};
  problem.groups = 8;
  problem.loads = loads;
  for (auto _ : state) {
    benchmark::DoNotOptimize(find_strategy(strategy, {}).make()->place(problem));
  }
}

/// 61 layers, 384 experts, 512 slots, 256 ranks: Kimi-K2 at EP256.
void place_large(benchmark::State& state, const char* strategy) {
  const std::vector<double> loads = loads_of(61, 384);
  PlacementProblem problem{
      .layers = 61, .experts = 384, .ranks = 256, .seed = 1, .redundant = 128, .ranks_per_node = 8};
  problem.loads = loads;
  for (auto _ : state) {
    benchmark::DoNotOptimize(find_strategy(strategy, {}).make()->place(problem));
  }
}

}  // namespace

BENCHMARK_CAPTURE(place, eplb_global, "eplb-global")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(place, eplb_hierarchical, "eplb-hierarchical")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(place, greedy, "greedy")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(place, search, "search")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(place_large, eplb_global, "eplb-global")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(place_large, search, "search")->Unit(benchmark::kMillisecond);
