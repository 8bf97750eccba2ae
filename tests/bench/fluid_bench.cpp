// How long uneven all-to-alls take to simulate: every pair of GPUs a flow of its own size. Nodes of 8 GPUs; each GPU
// has a scale-up port of 450 GB/s and a NIC of 50 GB/s, each way. The network between the NICs does not block, or is a
// leaf-spine of 2:1 (16 GPUs a leaf).
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <ctime>
#include <limits>
#include <span>
#include <vector>

#include "sim/core/random.hpp"
#include "sim/fluid/fluid_system.hpp"
#include "sim/fluid/known_flows.hpp"

namespace moesim {
namespace {

constexpr std::size_t kGpusPerNode = 8;
constexpr std::size_t kGpusPerLeaf = 16;
constexpr double kPort = 450e9;
constexpr double kNic = 50e9;
constexpr double kOversubscription = 2.0;
constexpr double kEpsilon = 1e-2;

enum class Network : std::uint8_t { kNonBlocking, kLeafSpine };

struct Flow {
  double bytes;
  std::vector<Use> uses;
};

struct Ports {
  Ports(FluidSystem& system, std::size_t gpus, Network kind) : network(kind) {
    for (std::size_t gpu = 0; gpu < gpus; ++gpu) {
      port_out.push_back(system.add_resource(kPort));
      port_in.push_back(system.add_resource(kPort));
      nic_out.push_back(system.add_resource(kNic));
      nic_in.push_back(system.add_resource(kNic));
    }
    for (std::size_t leaf = 0; leaf * kGpusPerLeaf < gpus; ++leaf) {
      up.push_back(system.add_resource(kNic * kGpusPerLeaf / kOversubscription));
      down.push_back(system.add_resource(kNic * kGpusPerLeaf / kOversubscription));
    }
  }
  [[nodiscard]] std::vector<Use> route(std::size_t from, std::size_t to) const {
    if (from / kGpusPerNode == to / kGpusPerNode) {
      return {{port_out[from]}, {port_in[to]}};
    }
    if (network == Network::kLeafSpine && from / kGpusPerLeaf != to / kGpusPerLeaf) {
      return {{nic_out[from]}, {up[from / kGpusPerLeaf]}, {down[to / kGpusPerLeaf]}, {nic_in[to]}};
    }
    return {{nic_out[from]}, {nic_in[to]}};
  }
  Network network;
  std::vector<ResourceId> port_out, port_in, nic_out, nic_in, up, down;
};

/// Who gets much: the same few from everybody, or each sender has its own favourites, so that all get about the same.
enum class Receivers : std::uint8_t { kHot, kBalanced };

/// Bytes from i to j: the popularity of j, Zipf(1.0) over the GPUs in shuffled order, times lognormal(σ = 0.3).
std::vector<Flow> all_to_all(const Ports& ports, std::size_t gpus, std::uint64_t seed,
                             Receivers receivers = Receivers::kHot) {
  RandomStream random(seed, "all-to-all");
  std::vector<double> popularity(gpus);
  for (std::size_t rank = 0; rank < gpus; ++rank) {
    popularity[rank] = 1.0 / static_cast<double>(rank + 1);
  }
  random.shuffle(std::span(popularity));
  std::vector<Flow> flows;
  for (std::size_t from = 0; from < gpus; ++from) {
    if (receivers == Receivers::kBalanced) {
      random.shuffle(std::span(popularity));
    }
    for (std::size_t to = 0; to < gpus; ++to) {
      if (from != to) {
        flows.push_back(
            Flow{std::floor(8e6 * popularity[to] * std::exp(0.3 * random.normal())), ports.route(from, to)});
      }
    }
  }
  return flows;
}

/// Starts all, GPU by GPU `stagger` apart, and runs to the end; finish times in seconds, by flow.
std::vector<double> run(FluidSystem& system, const std::vector<Flow>& flows, std::size_t gpus, SimTime stagger) {
  std::vector<double> finish(flows.size(), 0.0);
  const SimTime begin = system.time();
  std::size_t first = 0;
  std::vector<ActivityId> completed;
  const auto take = [&](SimTime now) {
    completed.clear();
    system.advance(now, completed);
    for (const ActivityId id : completed) {
      finish[id.index() - first] = (now - begin).duration().base();
    }
  };
  SimTime next_start = begin;
  for (std::size_t i = 0; i < flows.size(); ++i) {
    if (stagger > SimTime() && i % (gpus - 1) == 0) {
      for (auto next = system.next_completion(); next && *next <= next_start; next = system.next_completion()) {
        take(*next);
      }
      take(next_start);
      next_start += stagger;
    }
    const ActivityId id = system.start(system.time(), {.amount = flows[i].bytes, .uses = flows[i].uses});
    if (i == 0) {
      first = id.index();
    }
  }
  while (const auto next = system.next_completion()) {
    take(*next);
  }
  return finish;
}

/// Finish times in seconds, by flow, of flows that are all known before they begin: in windows.
std::vector<double> run_in_windows(const FluidSystem& resources, const std::vector<Flow>& flows) {
  std::vector<double> capacities;
  for (std::size_t resource = 0; resource < resources.resource_count(); ++resource) {
    capacities.push_back(resources.capacity(ResourceId(resource)));
  }
  std::vector<KnownFlow> known;
  known.reserve(flows.size());
  for (const Flow& flow : flows) {
    known.push_back({.amount = flow.bytes, .uses = flow.uses});
  }
  std::vector<double> finish;
  finish.reserve(flows.size());
  for (const SimTime time : share_known_flows(capacities, known, {.epsilon = kEpsilon}).finish) {
    finish.push_back(time.duration().base());
  }
  return finish;
}

/// All flows start at once, each time in a new system: nothing is left from the time before.
void exact(benchmark::State& state, Network network, Receivers receivers) {
  const auto gpus = static_cast<std::size_t>(state.range(0));
  for (auto _ : state) {
    FluidSystem system;
    const Ports ports(system, gpus, network);
    state.PauseTiming();
    const std::vector<Flow> flows = all_to_all(ports, gpus, 1, receivers);
    state.ResumeTiming();
    benchmark::DoNotOptimize(run(system, flows, gpus, SimTime()));
  }
  state.SetComplexityN(state.range(0));
}
BENCHMARK_CAPTURE(exact, non_blocking, Network::kNonBlocking, Receivers::kHot)
    ->RangeMultiplier(2)
    ->Range(32, 256)
    ->Unit(benchmark::kMillisecond)
    ->Complexity();
BENCHMARK_CAPTURE(exact, leaf_spine, Network::kLeafSpine, Receivers::kHot)
    ->RangeMultiplier(2)
    ->Range(32, 256)
    ->Unit(benchmark::kMillisecond)
    ->Complexity();
BENCHMARK_CAPTURE(exact, balanced, Network::kNonBlocking, Receivers::kBalanced)
    ->RangeMultiplier(2)
    ->Range(32, 128)
    ->Unit(benchmark::kMillisecond)
    ->Complexity();

/// FluidSystem, flow by flow, into which others may come; or share_known_flows.
enum class Solver : std::uint8_t { kSystem, kWindows };

/// The same with an epsilon; what it does to the finish times, relative to the exact ones, where those do not take too
/// long.
void bounded(benchmark::State& state, Network network, Receivers receivers, Solver solver) {
  const auto gpus = static_cast<std::size_t>(state.range(0));
  const std::size_t largest_exact = receivers == Receivers::kHot ? 256 : 128;
  std::vector<double> finish;
  for (auto _ : state) {
    FluidSystem system(FluidOptions{.epsilon = kEpsilon});
    const Ports ports(system, gpus, network);
    state.PauseTiming();
    const std::vector<Flow> flows = all_to_all(ports, gpus, 1, receivers);
    state.ResumeTiming();
    finish = solver == Solver::kWindows ? run_in_windows(system, flows) : run(system, flows, gpus, SimTime());
  }
  state.SetComplexityN(state.range(0));
  if (gpus > largest_exact) {
    return;
  }
  FluidSystem system;
  const Ports ports(system, gpus, network);
  const std::vector<double> expected = run(system, all_to_all(ports, gpus, 1, receivers), gpus, SimTime());
  std::vector<double> error;
  for (std::size_t flow = 0; flow < finish.size(); ++flow) {
    error.push_back(std::abs(finish[flow] / expected[flow] - 1.0));
  }
  std::sort(error.begin(), error.end());
  state.counters["error_p50"] = error[error.size() / 2];
  state.counters["error_p99"] = error[error.size() * 99 / 100];
  state.counters["error_max"] = error.back();
  state.counters["error_completion"] =
      *std::max_element(finish.begin(), finish.end()) / *std::max_element(expected.begin(), expected.end()) - 1.0;
}
BENCHMARK_CAPTURE(bounded, non_blocking, Network::kNonBlocking, Receivers::kHot, Solver::kWindows)
    ->RangeMultiplier(2)
    ->Range(32, 1024)
    ->Unit(benchmark::kMillisecond)
    ->Complexity();
BENCHMARK_CAPTURE(bounded, leaf_spine, Network::kLeafSpine, Receivers::kHot, Solver::kWindows)
    ->RangeMultiplier(2)
    ->Range(32, 1024)
    ->Unit(benchmark::kMillisecond)
    ->Complexity();
BENCHMARK_CAPTURE(bounded, balanced, Network::kNonBlocking, Receivers::kBalanced, Solver::kWindows)
    ->RangeMultiplier(2)
    ->Range(32, 1024)
    ->Unit(benchmark::kMillisecond)
    ->Complexity();
BENCHMARK_CAPTURE(bounded, system_non_blocking, Network::kNonBlocking, Receivers::kHot, Solver::kSystem)
    ->RangeMultiplier(2)
    ->Range(32, 256)
    ->Unit(benchmark::kMillisecond)
    ->Complexity();
BENCHMARK_CAPTURE(bounded, system_leaf_spine, Network::kLeafSpine, Receivers::kHot, Solver::kSystem)
    ->RangeMultiplier(2)
    ->Range(32, 256)
    ->Unit(benchmark::kMillisecond)
    ->Complexity();
BENCHMARK_CAPTURE(bounded, system_balanced, Network::kNonBlocking, Receivers::kBalanced, Solver::kSystem)
    ->RangeMultiplier(2)
    ->Range(32, 256)
    ->Unit(benchmark::kMillisecond)
    ->Complexity();

/// How the cost grows with the number of GPUs N: counter `exponent` is log(t₂/t₁)/log(N₂/N₁) of the shortest of several
/// runs each, of the processor's time. There are N² flows.
void growth(benchmark::State& state, double epsilon, Network network, Receivers receivers) {
  const auto seconds = [&](std::size_t gpus) {
    constexpr int kRuns = 3;
    double best = std::numeric_limits<double>::infinity();
    for (int i = 0; i < kRuns; ++i) {
      FluidSystem system(FluidOptions{.epsilon = epsilon});
      const Ports ports(system, gpus, network);
      const std::vector<Flow> flows = all_to_all(ports, gpus, 1, receivers);
      const std::clock_t begin = std::clock();
      benchmark::DoNotOptimize(epsilon > 0.0 ? run_in_windows(system, flows) : run(system, flows, gpus, SimTime()));
      best = std::min(best, static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC);
    }
    return best;
  };
  const auto smaller = static_cast<std::size_t>(state.range(0));
  const auto larger = static_cast<std::size_t>(state.range(1));
  for (auto _ : state) {
    const double first = seconds(smaller);
    const double second = seconds(larger);
    state.SetIterationTime(second);
    state.counters["exponent"] =
        std::log(second / first) / std::log(static_cast<double>(larger) / static_cast<double>(smaller));
  }
}
void once(benchmark::internal::Benchmark* bench) {
  bench->Args({64, 128})->Iterations(1)->UseManualTime()->Unit(benchmark::kMillisecond);
}
BENCHMARK_CAPTURE(growth, exact_non_blocking, 0.0, Network::kNonBlocking, Receivers::kHot)->Apply(once);
BENCHMARK_CAPTURE(growth, exact_leaf_spine, 0.0, Network::kLeafSpine, Receivers::kHot)->Apply(once);
BENCHMARK_CAPTURE(growth, exact_balanced, 0.0, Network::kNonBlocking, Receivers::kBalanced)->Apply(once);
BENCHMARK_CAPTURE(growth, bounded_non_blocking, kEpsilon, Network::kNonBlocking, Receivers::kHot)->Apply(once);
BENCHMARK_CAPTURE(growth, bounded_leaf_spine, kEpsilon, Network::kLeafSpine, Receivers::kHot)->Apply(once);
BENCHMARK_CAPTURE(growth, bounded_balanced, kEpsilon, Network::kNonBlocking, Receivers::kBalanced)->Apply(once);

/// A step: 116 exchanges one after the other in one system, each GPU starting 1 µs after the one before.
void step(benchmark::State& state) {
  const auto gpus = static_cast<std::size_t>(state.range(0));
  constexpr std::size_t kExchanges = 116;
  for (auto _ : state) {
    FluidSystem system;
    const Ports ports(system, gpus, Network::kNonBlocking);
    state.PauseTiming();
    std::vector<std::vector<Flow>> exchanges;
    for (std::size_t exchange = 0; exchange < kExchanges; ++exchange) {
      exchanges.push_back(all_to_all(ports, gpus, exchange));
    }
    state.ResumeTiming();
    for (const std::vector<Flow>& flows : exchanges) {
      benchmark::DoNotOptimize(run(system, flows, gpus, SimTime::from_ticks(1'000'000)));
    }
  }
}
BENCHMARK(step)->Arg(32)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace moesim
