#include "sim/execute/kernel_time.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "sim/core/error.hpp"
#include "sim/core/random.hpp"
#include "sim/fluid/fluid_system.hpp"

using namespace moesim;

namespace {

/// The same kernel as an activity that is alone on its compute units and its HBM.
SimTime as_activity(double seconds, double compute, double bandwidth, double traffic_rate) {
  FluidSystem system;
  const ResourceId units = system.add_resource(compute);
  const ResourceId memory = system.add_resource(bandwidth);
  const std::vector<Use> uses{{units, 1.0}, {memory, traffic_rate}};
  system.start({}, {.amount = seconds, .uses = uses, .rate_cap = 1.0});
  return system.next_completion().value();
}

}  // namespace

// 10 us at all units and half of the HBM; at 0.8 of the units 12.5 us; where it would take twice the HBM, 20 us.
TEST_CASE("kernel time: the scarcest of compute units, HBM and its own speed") {
  const SimTime ten = round_to_ticks(seconds(10e-6));
  CHECK(time_of_kernel(10e-6, {.compute = 1.0, .memory = 2.0}) == ten);
  CHECK(time_of_kernel(10e-6, {.compute = 0.8, .memory = 2.0}) == round_to_ticks(seconds(12.5e-6)));
  CHECK(time_of_kernel(10e-6, {.compute = 0.8, .memory = 0.5}) == ten + ten);
  CHECK_THROWS_AS(time_of_kernel(2e6, {}), ModelError);
}

TEST_CASE("kernel time: to the tick what the fluid system has for an activity alone") {
  RandomStream random(7, "kernel-time");
  constexpr double kBandwidth = 4.8e12;
  for (int i = 0; i < 2000; ++i) {
    const double alone = std::exp(std::log(1e-9) + random.uniform() * std::log(1e8));  // 1 ns to 0.1 s
    const double compute = random.uniform() < 0.5 ? 1.0 : std::max(0.01, random.uniform());
    const double traffic_rate = kBandwidth * (random.uniform() * 1.2 + 1e-6);
    INFO("kernel of " << alone << " s, " << compute << " of the units, " << traffic_rate << " B/s");
    CHECK(time_of_kernel(alone, {.compute = compute, .memory = kBandwidth / traffic_rate}) ==
          as_activity(alone, compute, kBandwidth, traffic_rate));
  }
}
