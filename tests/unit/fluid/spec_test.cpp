// Latencies and copies.
#include <catch2/catch.hpp>
#include <vector>

#include "sim/fluid/fluid_system.hpp"
#include "tests/unit/fluid/ticks.hpp"

namespace moesim {
namespace {

using test::at;
using test::kSecond;

TEST_CASE("Nothing is taken before the latency is over", "[fluid]") {
  // C = 10: a = 30 from 0 s, b = 10 from 1 s on after a latency of 1 s. a has 20 left at 1 s, both at 5: b ends at 3 s,
  // a has 10 left and ends at 4 s.
  FluidSystem system;
  const std::vector<Use> uses{{system.add_resource(10.0)}};
  const ActivityId a = system.start(at(0), {.amount = 30.0, .uses = uses});
  const ActivityId b = system.start(at(0), {.amount = 10.0, .uses = uses, .latency = at(kSecond)});
  CHECK(system.rate(a) == 10.0);
  CHECK(system.rate(b) == 0.0);
  CHECK(system.remaining(b) == 10.0);
  CHECK(system.live_count() == 2);
  CHECK(system.next_completion() == at(kSecond));  // rates change
  std::vector<ActivityId> completed;
  system.advance(at(kSecond), completed);
  CHECK(completed.empty());
  CHECK(system.rate(a) == 5.0);
  CHECK(system.rate(b) == 5.0);
  CHECK(system.next_completion() == at(3 * kSecond));
  system.advance(at(10 * kSecond), completed);
  CHECK(completed == std::vector{b, a});
  CHECK(system.busy_seconds(ResourceId(0)) == Approx(4.0).epsilon(1e-15));
}

TEST_CASE("With nothing to do a latency is all there is", "[fluid]") {
  FluidSystem system;
  const std::vector<Use> uses{{system.add_resource(10.0)}};
  const ActivityId a = system.start(at(0), {.amount = 0.0, .uses = uses, .latency = at(7)});
  CHECK(system.next_completion() == at(7));
  std::vector<ActivityId> completed;
  system.advance(at(7), completed);
  CHECK(completed == std::vector{a});
  CHECK(system.live_count() == 0);
}

TEST_CASE("Copies share as if each had been started", "[fluid]") {
  // C = 50: four copies of 10 and one other: 10 each. After 1 s the copies are through: 40 carried, and 10 by the
  // other.
  FluidSystem system;
  const ResourceId link = system.add_resource(50.0);
  const std::vector<Use> uses{{link}};
  const ActivityId copies = system.start(at(0), {.amount = 10.0, .uses = uses, .count = 4});
  const ActivityId other = system.start(at(0), {.amount = 60.0, .uses = uses});
  CHECK(system.rate(copies) == Approx(10.0).epsilon(1e-15));
  CHECK(system.rate(other) == Approx(10.0).epsilon(1e-15));
  std::vector<ActivityId> completed;
  system.advance(at(kSecond), completed);
  CHECK(completed == std::vector{copies});
  CHECK(system.carried(link) == Approx(50.0).epsilon(1e-15));
  CHECK(system.rate(other) == 50.0);
}

TEST_CASE("The cap of copies is that of each", "[fluid]") {
  // Three copies capped at 4 leave 50 − 12.
  FluidSystem system;
  const std::vector<Use> uses{{system.add_resource(50.0)}};
  const ActivityId copies = system.start(at(0), {.amount = 8.0, .uses = uses, .rate_cap = 4.0, .count = 3});
  const ActivityId other = system.start(at(0), {.amount = 100.0, .uses = uses});
  CHECK(system.rate(copies) == 4.0);
  CHECK(system.rate(other) == Approx(38.0).epsilon(1e-15));
}

}  // namespace
}  // namespace moesim
