// The hold model on ns-3: events that schedule themselves again, through ns3::Simulator::Run, with the scheduler named.
// What is measured is queue and loop: an ns-3 event is a heap-allocated function object.
#include <benchmark/benchmark.h>
#include <ns3/object-factory.h>
#include <ns3/simulator.h>

#include <cstdint>

#include "tests/bench/hold_model.hpp"

namespace moesim {
namespace {

struct Hold {
  HoldIncrements increments;
  std::int64_t left = 0;

  void fire() {
    ns3::Simulator::Schedule(ns3::NanoSeconds(increments.next()), &Hold::fire, this);
    if (--left == 0) {
      ns3::Simulator::Stop();
    }
  }
};

void hold_ns3(benchmark::State& state, const char* scheduler) {
  ns3::ObjectFactory factory;
  factory.SetTypeId(scheduler);
  ns3::Simulator::SetScheduler(factory);
  Hold hold;
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    ns3::Simulator::Schedule(ns3::NanoSeconds(hold.increments.next()), &Hold::fire, &hold);
  }
  hold.left = state.range(0);
  ns3::Simulator::Run();
  while (state.KeepRunningBatch(kHoldBatch)) {
    hold.left = kHoldBatch;
    ns3::Simulator::Run();
  }
  ns3::Simulator::Destroy();
}
BENCHMARK_CAPTURE(hold_ns3, map, "ns3::MapScheduler")->Arg(1'000)->Arg(100'000)->Arg(1'000'000);
BENCHMARK_CAPTURE(hold_ns3, heap, "ns3::HeapScheduler")->Arg(1'000)->Arg(100'000)->Arg(1'000'000);
BENCHMARK_CAPTURE(hold_ns3, calendar, "ns3::CalendarScheduler")->Arg(1'000)->Arg(100'000)->Arg(1'000'000);

}  // namespace
}  // namespace moesim
