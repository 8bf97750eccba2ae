// A completion is never reported before the true instant, nor a whole tick after it.
#include <catch2/catch.hpp>
#include <cstdint>
#include <vector>

#include "sim/core/random.hpp"
#include "sim/fluid/fluid_system.hpp"

namespace moesim {
namespace {

TEST_CASE("The tick of a completion is the true instant rounded up, in whole numbers", "[fluid]") {
  // Amount A and capacity C·10^9, A and C whole: 1000·A/C ticks, to be rounded up as integers are. Up to 10^9
  // ticks the noise of doubles, 10^−6 of a tick, is below the least fraction 1/C.
  RandomStream random(3, "rounding");
  for (int trial = 0; trial < 20000; ++trial) {
    const std::int64_t capacity = 1 + static_cast<std::int64_t>(random.below(4096));
    const std::int64_t amount = 1 + static_cast<std::int64_t>(random.below(400));
    const std::int64_t scale = 1 + static_cast<std::int64_t>(random.below(1000));
    FluidSystem system;
    const std::vector<Use> uses{{system.add_resource(static_cast<double>(capacity) * 1e9)}};
    const auto start = SimTime::from_ticks(static_cast<std::int64_t>(random.below(1'000'000'000'000'000)));
    system.start(start, {.amount = static_cast<double>(amount * scale), .uses = uses});
    const std::int64_t ticks = amount * scale * 1000;
    const std::int64_t expected = (ticks + capacity - 1) / capacity;
    CAPTURE(capacity, amount, scale);
    REQUIRE(system.next_completion() == start + SimTime::from_ticks(expected));
  }
}

TEST_CASE("Equal shares that end together end at one tick", "[fluid]") {
  // n flows of A on C = 1: all end at n·A s, whatever 1/n rounds to.
  for (std::size_t count = 1; count <= 200; ++count) {
    FluidSystem system;
    const std::vector<Use> uses{{system.add_resource(1.0)}};
    for (std::size_t i = 0; i < count; ++i) {
      system.start(SimTime(), {.amount = 0.001, .uses = uses});
    }
    const auto end = SimTime::from_ticks(static_cast<std::int64_t>(count) * 1'000'000'000);
    REQUIRE(system.next_completion() == end);
    std::vector<ActivityId> completed;
    system.advance(end, completed);
    REQUIRE(completed.size() == count);
  }
}

TEST_CASE("A chain of completions on one link ends when all the bytes are through", "[fluid]") {
  // Amounts 1 .. n on C: the link is never idle, so the last ends at Σ/C, late by at most one tick a completion
  // (in which the link runs empty by what the one that completed no longer needed).
  for (std::size_t count = 2; count <= 60; count += 7) {
    FluidSystem system;
    const double capacity = 3.7e11;
    const std::vector<Use> uses{{system.add_resource(capacity)}};
    double sum = 0.0;
    for (std::size_t i = 1; i <= count; ++i) {
      system.start(SimTime(), {.amount = static_cast<double>(i) * 1000.0, .uses = uses});
      sum += static_cast<double>(i) * 1000.0;
    }
    std::vector<ActivityId> completed;
    SimTime last;
    while (const auto next = system.next_completion()) {
      last = *next;
      system.advance(last, completed);
    }
    const double true_ticks = sum / capacity * 1e12;
    CAPTURE(count);
    CHECK(static_cast<double>(last.ticks()) >= true_ticks - 1e-3);
    CHECK(static_cast<double>(last.ticks()) < true_ticks + static_cast<double>(count) + 1e-3);
    CHECK(completed.size() == count);
  }
}

}  // namespace
}  // namespace moesim
