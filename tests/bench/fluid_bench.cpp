// How long one uneven all-to-all takes to simulate: every pair of GPUs a flow of its own size. Nodes of 8 GPUs; each
// GPU has a scale-up port of 450 GB/s and a NIC of 50 GB/s, each way; each node a leaf switch as wide as its NICs.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "sim/core/random.hpp"
#include "sim/fluid/fluid_system.hpp"

namespace moesim {
namespace {

constexpr std::size_t kGpusPerNode = 8;
constexpr double kPort = 450e9;
constexpr double kNic = 50e9;

struct Flow {
  double bytes;
  std::vector<Use> uses;
};

struct Cluster {
  explicit Cluster(std::size_t gpus) {
    for (std::size_t gpu = 0; gpu < gpus; ++gpu) {
      port_out.push_back(system.add_resource(kPort));
      port_in.push_back(system.add_resource(kPort));
      nic_out.push_back(system.add_resource(kNic));
      nic_in.push_back(system.add_resource(kNic));
      cable_out.push_back(system.add_resource(kNic));
      cable_in.push_back(system.add_resource(kNic));
    }
    for (std::size_t node = 0; node < gpus / kGpusPerNode; ++node) {
      trunk_up.push_back(system.add_resource(kNic * kGpusPerNode));
      trunk_down.push_back(system.add_resource(kNic * kGpusPerNode));
    }
  }

  [[nodiscard]] std::vector<Use> route(std::size_t from, std::size_t to) const {
    const std::size_t node_from = from / kGpusPerNode;
    const std::size_t node_to = to / kGpusPerNode;
    if (node_from == node_to) {
      return {{port_out[from]}, {port_in[to]}};
    }
    return {{nic_out[from]},       {cable_out[from]}, {trunk_up[node_from]},
            {trunk_down[node_to]}, {cable_in[to]},    {nic_in[to]}};
  }

  FluidSystem system;
  std::vector<ResourceId> port_out, port_in, nic_out, nic_in, cable_out, cable_in, trunk_up, trunk_down;
};

/// Bytes from i to j: the popularity of j, Zipf(1.0) over the GPUs in shuffled order, times lognormal(σ = 0.3).
std::vector<Flow> all_to_all(const Cluster& cluster, std::size_t gpus) {
  RandomStream random(1, "all-to-all");
  std::vector<double> popularity(gpus);
  for (std::size_t rank = 0; rank < gpus; ++rank) {
    popularity[rank] = 1.0 / static_cast<double>(rank + 1);
  }
  random.shuffle(std::span(popularity));
  std::vector<Flow> flows;
  for (std::size_t from = 0; from < gpus; ++from) {
    for (std::size_t to = 0; to < gpus; ++to) {
      if (from != to) {
        flows.push_back(
            Flow{std::floor(8e6 * popularity[to] * std::exp(0.3 * random.normal())), cluster.route(from, to)});
      }
    }
  }
  return flows;
}

/// All flows start at once.
void skewed_all_to_all(benchmark::State& state) {
  const auto gpus = static_cast<std::size_t>(state.range(0));
  Cluster cluster(gpus);
  const std::vector<Flow> flows = all_to_all(cluster, gpus);
  std::vector<ActivityId> completed;
  std::int64_t events = 0;
  for (auto _ : state) {
    for (const Flow& flow : flows) {
      cluster.system.start(cluster.system.time(), {.amount = flow.bytes, .uses = flow.uses});
    }
    while (const auto next = cluster.system.next_completion()) {
      cluster.system.advance(*next, completed);
      ++events;
    }
    completed.clear();
  }
  state.counters["events"] = benchmark::Counter(static_cast<double>(events), benchmark::Counter::kAvgIterations);
  state.counters["time/event"] =
      benchmark::Counter(static_cast<double>(events), benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(skewed_all_to_all)->Arg(32)->Arg(64)->Arg(128)->Unit(benchmark::kMillisecond);

/// Each GPU starts its flows 1 µs after the one before, while earlier ones are under way.
void staggered_all_to_all(benchmark::State& state) {
  const auto gpus = static_cast<std::size_t>(state.range(0));
  Cluster cluster(gpus);
  const std::vector<Flow> flows = all_to_all(cluster, gpus);
  std::vector<ActivityId> completed;
  std::int64_t events = 0;
  for (auto _ : state) {
    SimTime next_start = cluster.system.time();
    for (std::size_t i = 0; i < flows.size(); ++i) {
      if (i % (gpus - 1) == 0) {
        cluster.system.advance(next_start, completed);
        next_start += SimTime::from_ticks(1'000'000);
        ++events;
      }
      cluster.system.start(cluster.system.time(), {.amount = flows[i].bytes, .uses = flows[i].uses});
    }
    while (const auto next = cluster.system.next_completion()) {
      cluster.system.advance(*next, completed);
      ++events;
    }
    completed.clear();
  }
  state.counters["time/event"] =
      benchmark::Counter(static_cast<double>(events), benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(staggered_all_to_all)->Arg(32)->Arg(64)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace moesim
