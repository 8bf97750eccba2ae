// The hold model on SimGrid: kernel timers that set themselves again, through simgrid::s4u::Engine::run_until. What is
// measured is queue (a Fibonacci heap) and loop, in which every date is a step of the engine.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <simgrid/kernel/Timer.hpp>
#include <simgrid/s4u/Engine.hpp>
#include <simgrid/s4u/NetZone.hpp>

#include "tests/bench/hold_model.hpp"

namespace moesim {
namespace {

using simgrid::kernel::timer::Timer;

/// Increments of a second on average: SimGrid takes what is less than 10^-5 s apart as one.
constexpr double kSecondsPerTick = 1e-6;

struct Hold {
  HoldIncrements increments;
  std::int64_t count = 0;

  double next() { return simgrid::s4u::Engine::get_clock() + static_cast<double>(increments.next()) * kSecondsPerTick; }
  void set() {
    Timer::set(next(), [this] {
      ++count;
      set();
    });
  }
};

/// SimGrid has one engine a process.
simgrid::s4u::Engine& engine() {
  static int argc = 1;
  static char name[] = "bench_event_queue";
  static char* argv[] = {name, nullptr};
  static simgrid::s4u::Engine only(&argc, argv);
  // It does not run without a platform.
  static simgrid::s4u::NetZone* const zone = [] {
    simgrid::s4u::NetZone* root = simgrid::s4u::create_full_zone("root");
    root->create_host("host", 1.0);
    root->seal();
    return root;
  }();
  benchmark::DoNotOptimize(zone);
  return only;
}

void hold_simgrid(benchmark::State& state) {
  const simgrid::s4u::Engine& loop = engine();
  Hold hold;
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    hold.set();
  }
  const double mean = HoldIncrements::kMean * kSecondsPerTick;
  loop.run_until(simgrid::s4u::Engine::get_clock() + mean);
  hold.count = 0;
  for (auto _ : state) {
    // As much simulated time as kHoldBatch holds take on average.
    loop.run_until(simgrid::s4u::Engine::get_clock() + mean * kHoldBatch / static_cast<double>(state.range(0)));
  }
  state.counters["time/hold"] =
      benchmark::Counter(static_cast<double>(hold.count), benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  simgrid::kernel::timer::kernel_timers().clear();
}
BENCHMARK(hold_simgrid)->Arg(1'000)->Arg(100'000)->Arg(1'000'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace moesim
