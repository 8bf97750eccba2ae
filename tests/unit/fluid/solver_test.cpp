// Rates of small cases solved by hand. Notation: C capacity, x rate, λ = x/φ the level of the filling.
#include <catch2/catch.hpp>
#include <limits>
#include <vector>

#include "sim/core/error.hpp"
#include "sim/fluid/fluid_system.hpp"

namespace moesim {
namespace {

constexpr double kExact = 1e-15;

Approx close(double value) { return Approx(value).epsilon(kExact).margin(0.0); }

ActivityId start(FluidSystem& system, double amount, const std::vector<Use>& uses, double fairness = 1.0) {
  return system.start(system.time(), ActivitySpec{.amount = amount, .uses = uses, .fairness = fairness});
}

ActivityId start_capped(FluidSystem& system, double amount, const std::vector<Use>& uses, double cap) {
  return system.start(system.time(), ActivitySpec{.amount = amount, .uses = uses, .rate_cap = cap});
}

TEST_CASE("One activity alone gets the capacity over its weight", "[fluid]") {
  FluidSystem system;
  const ResourceId link = system.add_resource(90.0);
  // weight 3: 3·x = 90
  const ActivityId a = start(system, 1.0, {{link, 3.0}});
  CHECK(system.rate(a) == close(30.0));
}

TEST_CASE("Two activities on one link get half each", "[fluid]") {
  FluidSystem system;
  const ResourceId link = system.add_resource(90.0);
  const ActivityId a = start(system, 1.0, {{link}});
  const ActivityId b = start(system, 2.0, {{link}});
  CHECK(system.rate(a) == close(45.0));
  CHECK(system.rate(b) == close(45.0));
}

TEST_CASE("The parking lot: what the long flow cannot use goes to the short one on the wider link", "[fluid]") {
  // a over both links, b on the first (C = 10), c on the second (C = 25). First link fills at 10/2 = 5: a = b = 5.
  // Second: c = 25 − 5 = 20.
  FluidSystem system;
  const ResourceId first = system.add_resource(10.0);
  const ResourceId second = system.add_resource(25.0);
  const ActivityId a = start(system, 1.0, {{first}, {second}});
  const ActivityId b = start(system, 1.0, {{first}});
  const ActivityId c = start(system, 1.0, {{second}});
  CHECK(system.rate(a) == close(5.0));
  CHECK(system.rate(b) == close(5.0));
  CHECK(system.rate(c) == close(20.0));
}

TEST_CASE("A cap leaves the rest to the others", "[fluid]") {
  // C = 90, caps 10 and 25: level 10 fixes a, (90 − 10)/2 = 40 > 25 fixes b, c = 90 − 35 = 55.
  FluidSystem system;
  const ResourceId link = system.add_resource(90.0);
  const ActivityId a = start_capped(system, 1.0, {{link}}, 10.0);
  const ActivityId b = start_capped(system, 1.0, {{link}}, 25.0);
  const ActivityId c = start(system, 1.0, {{link}});
  CHECK(system.rate(a) == close(10.0));
  CHECK(system.rate(b) == close(25.0));
  CHECK(system.rate(c) == close(55.0));
}

TEST_CASE("A cap above the fair share does not bind, but does once the others are gone", "[fluid]") {
  // C = 90 by two: 45 < cap 60. a (amount 45) ends at 1 s; b alone could have 90, its cap says 60.
  FluidSystem system;
  const ResourceId link = system.add_resource(90.0);
  start(system, 45.0, {{link}});
  const ActivityId b = start_capped(system, 1000.0, {{link}}, 60.0);
  CHECK(system.rate(b) == close(45.0));
  std::vector<ActivityId> completed;
  system.advance(SimTime::from_ticks(1'000'000'000'000), completed);
  CHECK(completed.size() == 1);
  CHECK(system.rate(b) == close(60.0));
}

TEST_CASE("Without uses the cap is the rate", "[fluid]") {
  FluidSystem system;
  const ActivityId a = start_capped(system, 8.0, {}, 4.0);
  CHECK(system.rate(a) == close(4.0));
  CHECK(system.next_completion() == SimTime::from_ticks(2'000'000'000'000));  // 8/4 s
}

TEST_CASE("Fairness sets the ratio of the rates where they compete", "[fluid]") {
  // Level of C = 90: λ·(1 + 2) = 90, λ = 30: rates 30 and 60.
  FluidSystem system;
  const ResourceId link = system.add_resource(90.0);
  const ActivityId a = start(system, 1.0, {{link}}, 1.0);
  const ActivityId b = start(system, 1.0, {{link}}, 2.0);
  CHECK(system.rate(a) == close(30.0));
  CHECK(system.rate(b) == close(60.0));
}

TEST_CASE("An activity that takes two resources at different weights", "[fluid]") {
  // A kernel k takes 1 of the SMs (C = 132) and 2 of the memory (C = 100) per unit; a copy m takes 1 of the memory.
  // Memory: λ·(2 + 1) = 100, λ = 100/3; SMs would fill at 132 only. k = m = 100/3: memory 200/3 + 100/3 = 100.
  FluidSystem system;
  const ResourceId multiprocessors = system.add_resource(132.0);
  const ResourceId memory = system.add_resource(100.0);
  const ActivityId kernel = start(system, 1.0, {{multiprocessors, 1.0}, {memory, 2.0}});
  const ActivityId copy = start(system, 1.0, {{memory, 1.0}});
  CHECK(system.rate(kernel) == close(100.0 / 3.0));
  CHECK(system.rate(copy) == close(100.0 / 3.0));
  // A second kernel on the SMs alone takes what the first leaves: 132 − 100/3.
  const ActivityId second = start(system, 1.0, {{multiprocessors}});
  CHECK(system.rate(second) == close(132.0 - 100.0 / 3.0));
}

TEST_CASE("A resource that is named twice counts with the sum of the weights", "[fluid]") {
  FluidSystem system;
  const ResourceId link = system.add_resource(90.0);
  const ActivityId a = start(system, 1.0, {{link, 1.0}, {link, 2.0}});
  CHECK(system.rate(a) == close(30.0));  // 3·x = 90
}

TEST_CASE("Three levels: each fills where the former left off", "[fluid]") {
  // Links C = 6, 10, 20. a on 1; b on 1 and 2; c on 2 and 3; d on 3. Link 1: 6/2 = 3 → a = b = 3.
  // Link 2: (10 − 3)/1 = 7 → c = 7. Link 3: 20 − 7 = 13 → d = 13.
  FluidSystem system;
  const ResourceId one = system.add_resource(6.0);
  const ResourceId two = system.add_resource(10.0);
  const ResourceId three = system.add_resource(20.0);
  const ActivityId a = start(system, 100.0, {{one}});
  const ActivityId b = start(system, 3.0, {{one}, {two}});
  const ActivityId c = start(system, 100.0, {{two}, {three}});
  const ActivityId d = start(system, 100.0, {{three}});
  CHECK(system.rate(a) == close(3.0));
  CHECK(system.rate(b) == close(3.0));
  CHECK(system.rate(c) == close(7.0));
  CHECK(system.rate(d) == close(13.0));
  // b ends at 1 s: a = 6; link 2 alone would give c 10, and link 3 gives 20/2 = 10 as well: c = d = 10.
  std::vector<ActivityId> completed;
  system.advance(SimTime::from_ticks(1'000'000'000'000), completed);
  CHECK(completed == std::vector{b});
  CHECK(system.rate(a) == close(6.0));
  CHECK(system.rate(c) == close(10.0));
  CHECK(system.rate(d) == close(10.0));
}

TEST_CASE("What cannot be is a fault of the caller", "[fluid]") {
  FluidSystem system;
  const ResourceId link = system.add_resource(1.0);
  const std::vector<Use> uses{{link}};
  const std::vector<Use> unknown{{ResourceId(7)}};
  const std::vector<Use> weightless{{link, 0.0}};
  const SimTime now;
  CHECK_THROWS_AS(system.add_resource(0.0), InternalError);
  CHECK_THROWS_AS(system.add_resource(std::numeric_limits<double>::infinity()), InternalError);
  CHECK_THROWS_AS(system.set_capacity(now, link, -1.0), InternalError);
  CHECK_THROWS_AS(system.start(now, {.amount = -1.0, .uses = uses}), InternalError);
  CHECK_THROWS_AS(system.start(now, {.amount = std::nan(""), .uses = uses}), InternalError);
  CHECK_THROWS_AS(system.start(now, {.amount = 1.0, .uses = {}}), InternalError);
  CHECK_THROWS_AS(system.start(now, {.amount = 1.0, .uses = unknown}), InternalError);
  CHECK_THROWS_AS(system.start(now, {.amount = 1.0, .uses = weightless}), InternalError);
  CHECK_THROWS_AS(system.start(now, {.amount = 1.0, .uses = uses, .fairness = 0.0}), InternalError);
  CHECK_THROWS_AS(system.start(now, {.amount = 1.0, .uses = uses, .rate_cap = 0.0}), InternalError);
  CHECK_THROWS_AS(system.rate(ActivityId(0)), InternalError);
  CHECK(system.live_count() == 0);
}

}  // namespace
}  // namespace moesim
