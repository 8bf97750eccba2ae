// ns per hold (pop one, push one) of priority queues of 10^3 to 10^6 events; the column "Time" is one hold. After the
// queue is filled it is held as often as it has events, so that it has its steady shape when the clock starts.
#include <benchmark/benchmark.h>

#include <boost/heap/d_ary_heap.hpp>
#include <boost/heap/pairing_heap.hpp>
#include <cstdint>
#include <queue>
#include <vector>

#include "sim/engine/event_queue.hpp"
#include "tests/bench/hold_model.hpp"

namespace moesim {
namespace {

/// What a queue without phases and handles needs for the same order.
struct Entry {
  std::int64_t time;
  std::uint64_t order;
  std::uint64_t payload;

  friend bool operator>(const Entry& a, const Entry& b) {
    return a.time != b.time ? a.time > b.time : a.order > b.order;
  }
};

template <class Queue>
class EntryQueue {
 public:
  void push(std::int64_t time, std::uint64_t payload) { queue_.push(Entry{time, order_++, payload}); }
  Entry pop() {
    const Entry first = queue_.top();
    queue_.pop();
    return first;
  }

 private:
  Queue queue_;
  std::uint64_t order_ = 0;
};

using StdQueue = EntryQueue<std::priority_queue<Entry, std::vector<Entry>, std::greater<>>>;
using BoostQuadHeap =
    EntryQueue<boost::heap::d_ary_heap<Entry, boost::heap::arity<4>, boost::heap::compare<std::greater<>>>>;
using BoostPairingHeap = EntryQueue<boost::heap::pairing_heap<Entry, boost::heap::compare<std::greater<>>>>;

class OurQueue {
 public:
  void push(std::int64_t time, std::uint64_t payload) {
    queue_.push(SimTime::from_ticks(time), Phase::kCompletion, payload);
  }
  Entry pop() {
    const auto event = queue_.pop();
    return Entry{event->time.ticks(), 0, event->payload};
  }

 private:
  EventQueue<std::uint64_t> queue_;
};

template <class Queue>
void hold(benchmark::State& state) {
  HoldIncrements increments;
  Queue queue;
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    queue.push(increments.next(), static_cast<std::uint64_t>(i));
  }
  const auto hold_once = [&] {
    const Entry first = queue.pop();
    queue.push(first.time + increments.next(), first.payload);
    return first.payload;
  };
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    hold_once();
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(hold_once());
  }
}
BENCHMARK_TEMPLATE(hold, OurQueue)->Arg(100)->Arg(1'000)->Arg(100'000)->Arg(1'000'000);
BENCHMARK_TEMPLATE(hold, StdQueue)->Arg(100)->Arg(1'000)->Arg(100'000)->Arg(1'000'000);
BENCHMARK_TEMPLATE(hold, BoostQuadHeap)->Arg(100)->Arg(1'000)->Arg(100'000)->Arg(1'000'000);
BENCHMARK_TEMPLATE(hold, BoostPairingHeap)->Arg(100)->Arg(1'000)->Arg(100'000)->Arg(1'000'000);

}  // namespace
}  // namespace moesim
