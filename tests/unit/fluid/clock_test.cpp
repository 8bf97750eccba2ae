// When things complete, in ticks of 1 ps, and what has passed until then.
#include <catch2/catch.hpp>
#include <vector>

#include "sim/core/error.hpp"
#include "sim/fluid/fluid_system.hpp"
#include "tests/unit/fluid/ticks.hpp"

namespace moesim {
namespace {

using test::at;
using test::kSecond;

TEST_CASE("A completion is exact where the ticks are", "[fluid]") {
  // 1 MB at 1 GB/s is 1 ms = 10^9 ticks, and not one more for the rounding of doubles.
  FluidSystem system;
  const std::vector<Use> uses{{system.add_resource(1e9)}};
  system.start(at(0), {.amount = 1e6, .uses = uses});
  CHECK(system.next_completion() == at(1'000'000'000));
}

TEST_CASE("A completion between two ticks is reported at the later one", "[fluid]") {
  // 1 unit at 3·10^11 per s takes 3 1/3 ticks.
  FluidSystem system;
  const std::vector<Use> uses{{system.add_resource(3e11)}};
  const ActivityId a = system.start(at(10), {.amount = 1.0, .uses = uses});
  CHECK(system.next_completion() == at(14));
  std::vector<ActivityId> completed;
  system.advance(at(13), completed);
  CHECK(completed.empty());
  CHECK(system.remaining(a) == Approx(0.1).epsilon(1e-12));  // 3 of 10/3 ticks are gone
  system.advance(at(14), completed);
  CHECK(completed == std::vector{a});
  CHECK(system.remaining(a) == 0.0);
  CHECK(system.rate(a) == 0.0);
}

TEST_CASE("Two flows on one link: the survivor speeds up", "[fluid]") {
  // C = 10; amounts 10 and 30. Both at 5 until 10/5 = 2 s; then 30 − 10 = 20 are left at 10: 2 s more.
  FluidSystem system;
  const std::vector<Use> uses{{system.add_resource(10.0)}};
  const ActivityId a = system.start(at(0), {.amount = 10.0, .uses = uses});
  const ActivityId b = system.start(at(0), {.amount = 30.0, .uses = uses});
  std::vector<ActivityId> completed;
  REQUIRE(system.next_completion() == at(2 * kSecond));
  system.advance(at(2 * kSecond), completed);
  CHECK(completed == std::vector{a});
  CHECK(system.remaining(b) == Approx(20.0).epsilon(1e-15));
  CHECK(system.next_completion() == at(4 * kSecond));
  CHECK(system.carried(ResourceId(0)) == Approx(20.0).epsilon(1e-15));
  system.advance(at(5 * kSecond), completed);
  CHECK(completed == std::vector{a, b});
  CHECK(system.carried(ResourceId(0)) == 40.0);
  CHECK(system.busy_seconds(ResourceId(0)) == Approx(4.0).epsilon(1e-15));
  CHECK(!system.next_completion().has_value());
}

TEST_CASE("A late arrival takes its share from then on", "[fluid]") {
  // C = 10; a = 30 from 0 s; b = 10 from 1 s. a: 10 done by 1 s; both at 5 until b ends at 3 s, where a has 10 left;
  // at 10 it ends at 4 s.
  FluidSystem system;
  const std::vector<Use> uses{{system.add_resource(10.0)}};
  const ActivityId a = system.start(at(0), {.amount = 30.0, .uses = uses});
  const ActivityId b = system.start(at(kSecond), {.amount = 10.0, .uses = uses});
  CHECK(system.next_completion() == at(3 * kSecond));
  std::vector<ActivityId> completed;
  system.advance(at(10 * kSecond), completed);
  CHECK(completed == std::vector{b, a});
  CHECK(system.busy_seconds(ResourceId(0)) == Approx(4.0).epsilon(1e-15));
}

TEST_CASE("A capacity that changes in flight", "[fluid]") {
  // 30 units at 10 for 1 s, at 4 for 2 s, 12 left at 6: 2 s more.
  FluidSystem system;
  const ResourceId link = system.add_resource(10.0);
  const std::vector<Use> uses{{link}};
  const ActivityId a = system.start(at(0), {.amount = 30.0, .uses = uses});
  system.set_capacity(at(kSecond), link, 4.0);
  CHECK(system.rate(a) == 4.0);
  system.set_capacity(at(3 * kSecond), link, 6.0);
  CHECK(system.remaining(a) == Approx(12.0).epsilon(1e-15));
  CHECK(system.next_completion() == at(5 * kSecond));
}

TEST_CASE("Nothing to do is done at once", "[fluid]") {
  FluidSystem system;
  const std::vector<Use> uses{{system.add_resource(1.0)}};
  const ActivityId a = system.start(at(5), {.amount = 0.0, .uses = uses});
  CHECK(system.next_completion() == at(5));
  CHECK(system.rate(a) == 0.0);
  std::vector<ActivityId> completed;
  system.advance(at(5), completed);
  CHECK(completed == std::vector{a});
  CHECK(!system.next_completion().has_value());
  CHECK(system.carried(ResourceId(0)) == 0.0);
}

TEST_CASE("Within an instant completions come by id, over components and the empty", "[fluid]") {
  // 0, 2 and 3 on resources of their own, 1 has nothing to do; all at 1 s but the empty one.
  FluidSystem system;
  const std::vector<Use> fast{{system.add_resource(20.0)}};
  const std::vector<Use> slow{{system.add_resource(5.0)}};
  std::vector<ActivityId> completed;
  const ActivityId a = system.start(at(0), {.amount = 20.0, .uses = fast});
  const ActivityId empty = system.start(at(0), {.amount = 0.0, .uses = fast});
  const ActivityId b = system.start(at(0), {.amount = 2.5, .uses = slow});
  const ActivityId c = system.start(at(0), {.amount = 2.5, .uses = slow});
  system.advance(at(kSecond), completed);
  CHECK(completed == std::vector{empty, a, b, c});
}

TEST_CASE("A start may not overtake a completion that was not taken", "[fluid]") {
  FluidSystem system;
  const std::vector<Use> uses{{system.add_resource(1.0)}};
  system.start(at(0), {.amount = 1.0, .uses = uses});
  CHECK_THROWS_AS(system.start(at(kSecond + 1), {.amount = 1.0, .uses = uses}), InternalError);
  CHECK_NOTHROW(system.start(at(kSecond), {.amount = 1.0, .uses = uses}));
  std::vector<ActivityId> completed;
  CHECK_THROWS_AS(system.advance(at(0), completed), InternalError);
  system.advance(at(kSecond), completed);
  CHECK(completed == std::vector{ActivityId(0)});
}

TEST_CASE("What takes longer than the clock can tell is refused", "[fluid]") {
  // 2^60 ticks are 1.15·10^6 s.
  FluidSystem system;
  const std::vector<Use> uses{{system.add_resource(1.0)}};
  const ActivityId a = system.start(at(0), {.amount = 1e6, .uses = uses});
  CHECK(system.next_completion() == at(1'000'000 * kSecond));
  system.start(at(0), {.amount = 1e9, .uses = uses});
  CHECK_THROWS_AS(system.next_completion(), ModelError);  // a is twice as long with it
  std::vector<ActivityId> completed;
  CHECK_NOTHROW(system.advance(at(kSecond), completed));
  CHECK(system.remaining(a) == Approx(1e6 - 0.5));
}

}  // namespace
}  // namespace moesim
