#include "sim/core/time.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"
#include "sim/core/random.hpp"

using namespace moesim;

TEST_CASE("a duration is rounded to the nearest picosecond, halves away from zero") {
  CHECK(round_to_ticks(seconds(0.0)).ticks() == 0);
  CHECK(round_to_ticks(seconds(1.0)).ticks() == 1'000'000'000'000);
  CHECK(round_to_ticks(seconds(0.49e-12)).ticks() == 0);
  CHECK(round_to_ticks(seconds(0.5e-12)).ticks() == 1);  // 0.5e-12 · 1e12 is 0.5 in double
  CHECK(round_to_ticks(seconds(0.51e-12)).ticks() == 1);
  CHECK(round_to_ticks(seconds(1.49e-12)).ticks() == 1);
  CHECK(round_to_ticks(seconds(2.5e-12)).ticks() == 3);  // away from zero, not to even
  CHECK(round_to_ticks(seconds(-0.0)).ticks() == 0);
}

TEST_CASE("a duration outside 0 to 2^60 ps is a model error, its edge is not") {
  const double edge = std::ldexp(1.0, 60);  // ps
  CHECK(round_to_ticks(seconds(edge / 1e12)).ticks() <= std::int64_t{1} << 60);
  // One part in 2^50 is four steps of double: under the edge on one side, over it on the other.
  CHECK(round_to_ticks(seconds(edge * (1 - std::ldexp(1.0, -50)) / 1e12)).ticks() < std::int64_t{1} << 60);
  CHECK_THROWS_AS(round_to_ticks(seconds(edge * (1 + std::ldexp(1.0, -50)) / 1e12)), ModelError);
  CHECK_THROWS_AS(round_to_ticks(seconds(-1e-12)), ModelError);
  CHECK_THROWS_AS(round_to_ticks(seconds(std::numeric_limits<double>::infinity())), ModelError);
  CHECK_THROWS_AS(round_to_ticks(seconds(std::numeric_limits<double>::quiet_NaN())), ModelError);
  CHECK_THROWS_WITH(round_to_ticks(seconds(-1.0)),
                    "a simulated duration of -1 s is out of range (0 to 1152922 s)");  // 2^60 ps = 1152921.5 s
}

TEST_CASE("times come back unchanged from a duration as long as double can tell ticks apart") {
  // Two roundings of relative error 2^-53 each: below half a tick for fewer than 2^51 ticks.
  RandomStream random(1, "times");
  for (int i = 0; i < 10000; ++i) {
    const auto ticks = static_cast<std::int64_t>(random.bits() >> (13 + random.below(50)));
    REQUIRE(round_to_ticks(SimTime::from_ticks(ticks).duration()).ticks() == ticks);
  }
  CHECK(SimTime::from_ticks(5).duration().base() == 5e-12);  // the nearest double, so that it prints as 5e-12
}

TEST_CASE("simulated time adds exactly and never comes last") {
  const SimTime a = SimTime::from_ticks((std::int64_t{1} << 60) - 1);
  CHECK((a + SimTime::from_ticks(1)).ticks() == std::int64_t{1} << 60);  // a double would have lost the 1
  CHECK((a - SimTime::from_ticks(1)).ticks() == (std::int64_t{1} << 60) - 2);
  CHECK(SimTime{}.ticks() == 0);
  CHECK(round_to_ticks(seconds(1152921.0)) < SimTime::never());
  CHECK(SimTime::from_ticks(1) < SimTime::from_ticks(2));
}
