#include "sim/engine/event_queue.hpp"

#include <catch2/catch.hpp>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "sim/core/error.hpp"
#include "sim/core/random.hpp"

namespace moesim {
namespace {

SimTime at(std::int64_t ticks) { return SimTime::from_ticks(ticks); }

TEST_CASE("Events come by time, then by phase, then as they were pushed", "[engine]") {
  EventQueue<std::string> queue;
  queue.push(at(2), Phase::kCompletion, "f");
  queue.push(at(1), Phase::kStart, "d");
  queue.push(at(1), Phase::kCompletion, "a");
  queue.push(at(1), Phase::kObservation, "e");
  queue.push(at(1), Phase::kCompletion, "b");
  queue.push(at(1), Phase::kArrival, "c");
  CHECK(queue.size() == 6);
  CHECK(queue.next_time() == at(1));
  std::string order;
  while (const auto event = queue.pop()) {
    order += event->payload;
  }
  CHECK(order == "abcdef");
  CHECK(queue.empty());
  CHECK(queue.last_time() == at(2));
  CHECK(!queue.pop().has_value());
  CHECK(!queue.next_time().has_value());
}

TEST_CASE("An event may be pushed at the present instant, not before", "[engine]") {
  EventQueue<int> queue;
  queue.push(at(5), Phase::kStart, 1);
  queue.pop();
  CHECK_THROWS_AS(queue.push(at(4), Phase::kStart, 2), InternalError);
  CHECK_THROWS_AS(queue.push(SimTime::never(), Phase::kStart, 2), InternalError);
  queue.push(at(5), Phase::kCompletion, 3);
  const auto event = queue.pop();
  REQUIRE(event.has_value());
  CHECK(event->payload == 3);
  CHECK(event->phase == Phase::kCompletion);
  CHECK(event->time == at(5));
}

TEST_CASE("A cancelled event does not come, and can be cancelled once", "[engine]") {
  EventQueue<int> queue;
  const EventHandle first = queue.push(at(1), Phase::kStart, 1);
  const EventHandle second = queue.push(at(2), Phase::kStart, 2);
  CHECK(queue.cancel(first));
  CHECK(!queue.cancel(first));
  CHECK(queue.size() == 1);
  CHECK(queue.next_time() == at(2));
  // The place of the first is used again; its handle does not reach the newcomer.
  queue.push(at(3), Phase::kStart, 3);
  CHECK(!queue.cancel(first));
  CHECK(queue.pop()->payload == 2);
  CHECK(!queue.cancel(second));
  CHECK(queue.pop()->payload == 3);
  CHECK(!queue.cancel(EventHandle()));
}

TEST_CASE("A cancelled payload is let go at once, and marks of the dead do not pile up", "[engine]") {
  const auto witness = std::make_shared<int>(0);
  EventQueue<std::shared_ptr<int>> queue;
  for (int round = 0; round < 10'000; ++round) {
    const EventHandle handle = queue.push(at(1'000'000 + round), Phase::kStart, witness);
    REQUIRE(witness.use_count() == 2);
    REQUIRE(queue.cancel(handle));
    REQUIRE(witness.use_count() == 1);
  }
  CHECK(queue.empty());
  CHECK(!queue.pop().has_value());
}

TEST_CASE("Payloads that can only be moved", "[engine]") {
  EventQueue<std::unique_ptr<int>> queue;
  for (int i = 0; i < 1000; ++i) {
    queue.push(at(1000 - i), Phase::kStart, std::make_unique<int>(i));
  }
  for (int i = 999; i >= 0; --i) {
    REQUIRE(*queue.pop()->payload == i);
  }
}

/// The same by a std::multimap, whose equal keys stay in order of insertion.
class Reference {
 public:
  using Key = std::pair<SimTime, Phase>;
  void push(SimTime time, Phase phase, int payload) {
    places_.emplace(payload, events_.emplace(Key(time, phase), payload));
  }
  bool cancel(int payload) {
    const auto place = places_.find(payload);
    if (place == places_.end()) {
      return false;
    }
    events_.erase(place->second);
    places_.erase(place);
    return true;
  }
  std::tuple<SimTime, Phase, int> pop() {
    const auto first = events_.begin();
    const std::tuple<SimTime, Phase, int> result(first->first.first, first->first.second, first->second);
    places_.erase(first->second);
    events_.erase(first);
    return result;
  }
  [[nodiscard]] std::size_t size() const { return events_.size(); }

 private:
  std::multimap<Key, int> events_;
  std::map<int, std::multimap<Key, int>::iterator> places_;
};

/// How far ahead events are pushed: close together, so that many tie; spread; or mostly close and some very far.
std::int64_t ahead(RandomStream& random, std::uint64_t kind) {
  switch (kind) {
    case 0:
      return static_cast<std::int64_t>(random.below(20));
    case 1:
      return static_cast<std::int64_t>(1e9 * random.exponential());
    default:
      return static_cast<std::int64_t>(random.below(50) == 0 ? random.below(1ULL << 60) / 1000 : random.below(1000));
  }
}

TEST_CASE("Any mix of pushes, pops and cancellations agrees with a multimap", "[engine]") {
  for (std::uint64_t trial = 0; trial < 60; ++trial) {
    CAPTURE(trial);
    RandomStream random(5, "event queue", trial);
    EventQueue<int> queue;
    Reference reference;
    std::vector<EventHandle> handles;
    // Rounds in which pushes outweigh pops and the other way round: the queue grows to thousands and empties again.
    for (int round = 0; round < 6; ++round) {
      const std::uint64_t pushes = 1 + random.below(9);
      for (int operation = 0; operation < 3000; ++operation) {
        const std::uint64_t choice = random.below(12);
        if (choice < pushes) {
          const SimTime time = queue.last_time() + at(ahead(random, trial % 3));
          const auto phase = static_cast<Phase>(random.below(5));
          const auto payload = static_cast<int>(handles.size());
          handles.push_back(queue.push(time, phase, payload));
          reference.push(time, phase, payload);
        } else if (choice == 11 && !handles.empty()) {
          const std::size_t victim = random.below(handles.size());
          REQUIRE(queue.cancel(handles[victim]) == reference.cancel(static_cast<int>(victim)));
        } else if (reference.size() > 0) {
          const auto [time, phase, payload] = reference.pop();
          REQUIRE(queue.next_time() == time);
          const auto event = queue.pop();
          REQUIRE(event.has_value());
          REQUIRE(event->payload == payload);
          REQUIRE(event->time == time);
          REQUIRE(event->phase == phase);
        }
        REQUIRE(queue.size() == reference.size());
      }
    }
    while (reference.size() > 0) {
      REQUIRE(queue.pop()->payload == std::get<2>(reference.pop()));
    }
    REQUIRE(!queue.pop().has_value());
  }
}

}  // namespace
}  // namespace moesim
