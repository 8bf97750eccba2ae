#include <benchmark/benchmark.h>

#include "sim/core/quantity.hpp"
#include "sim/execute/all_to_all.hpp"
#include "topologies/cluster.hpp"

/// Uniform all-to-alls, which symmetry reduces to a handful of transfers. The cluster is built before the clock starts,
/// as its routes are made anew in every run.
namespace moesim {
namespace {

/// 128 nodes of eight H100, a rail-optimised leaf-spine.
Cluster hgx_cluster(std::size_t ranks) { return load_cluster(ClusterName{"hgx-h100"}, ranks, {"benchmark", {}}); }

/// One switch with a port of 50 GiB/s for each rank: the congestion-aware case that ASTRA-sim comes with.
Cluster one_switch(std::size_t ranks) {
  ClusterConfig config;
  config.name = "one switch";
  config.accelerator = "h100-sxm";
  config.gpus_per_node = ranks;
  config.nodes = 1;
  config.scale_up.bandwidth = Bandwidth::from_base(50.0 * 1073741824.0);
  return build_cluster(config, {"benchmark", {}});
}

void run(benchmark::State& state, const Cluster& cluster, Bytes per_rank) {
  const auto ranks = static_cast<std::size_t>(state.range(0));
  const TrafficMatrix traffic = TrafficMatrix::uniform(ranks, per_rank);
  AllToAllResult result;
  for (auto _ : state) {
    result = all_to_all(cluster, traffic, {});
    benchmark::DoNotOptimize(result);
  }
  state.counters["completion_us"] = result.completion.duration().base() * 1e6;
  state.counters["transfers"] = static_cast<double>(result.transfers);
}

void uniform_hgx(benchmark::State& state) {
  run(state, hgx_cluster(static_cast<std::size_t>(state.range(0))), Bytes::from_base(64.0 * 1048576.0));
}
BENCHMARK(uniform_hgx)->Arg(128)->Arg(1024)->Unit(benchmark::kMicrosecond);

void uniform_one_switch(benchmark::State& state) {
  run(state, one_switch(static_cast<std::size_t>(state.range(0))), Bytes::from_base(64.0 * 1048576.0));
}
BENCHMARK(uniform_one_switch)->Arg(1024)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace moesim
