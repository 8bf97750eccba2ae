// With an epsilon: what is exact nevertheless, and how far off the times are.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "sim/fluid/fluid_system.hpp"
#include "tests/oracle/fluid/simgrid/network_case.hpp"

namespace moesim {
namespace {

using oracle::Fabric;
using oracle::NetworkCase;

TEST_CASE("Windows: nearly all flows of uneven all-to-alls end within epsilon of their times", "[fluid]") {
  // Within a window of ε of the time that has passed, only those that share links with what completes in it are
  // wrong, by a part of the window; the bounds are those that the option's description gives, with room.
  for (const Fabric fabric : {Fabric::kNonBlocking, Fabric::kLeafSpine}) {
    const NetworkCase network = oracle::skewed_all_to_all(48, fabric, 1);
    const std::vector<double> exact = oracle::finish_times(network);
    for (const double epsilon : {1e-3, 1e-2}) {
      const std::vector<double> near = oracle::finish_times(network, epsilon);
      std::vector<double> error;
      for (std::size_t flow = 0; flow < exact.size(); ++flow) {
        error.push_back(std::abs(near[flow] / exact[flow] - 1.0));
      }
      std::sort(error.begin(), error.end());
      CAPTURE(epsilon, fabric == Fabric::kLeafSpine);
      CHECK(error[error.size() / 2] < 0.1 * epsilon);
      CHECK(error[error.size() * 99 / 100] < epsilon);
      const double last = *std::max_element(exact.begin(), exact.end());
      CHECK(*std::max_element(near.begin(), near.end()) == Approx(last).epsilon(0.1 * epsilon).margin(0.0));
    }
  }
}

TEST_CASE("Windows: one link is busy but for a quarter of epsilon", "[fluid]") {
  // What completes leaves its share to the others of the link at once, in the window; after it a level stays that is
  // wrong by less than ε/4, so that the link carries at least 1 − ε/4 of what it could. Amounts 1 to 40 on C = 1: flow
  // k ends when all have done k, or all they have, Σ_i min(i, k) s, and by no more than that part of it later.
  constexpr double kEpsilon = 0.1;
  FluidSystem system(FluidOptions{.epsilon = kEpsilon});
  const std::vector<Use> uses{{system.add_resource(1.0)}};
  constexpr int kFlows = 40;
  for (int i = 1; i <= kFlows; ++i) {
    system.start(SimTime(), {.amount = static_cast<double>(i), .uses = uses});
  }
  std::vector<ActivityId> completed;
  double expected = 0.0;
  for (int k = 1; k <= kFlows; ++k) {
    expected += kFlows - k + 1;
    const auto next = system.next_completion();
    REQUIRE(next.has_value());
    CHECK(next->duration().base() >= expected * (1.0 - 1e-11));
    CHECK(next->duration().base() <= expected / (1.0 - kEpsilon / 4.0));
    completed.clear();
    system.advance(*next, completed);
    REQUIRE(completed == std::vector{ActivityId(static_cast<std::size_t>(k - 1))});
  }
}

TEST_CASE("Windows: what starts within one ends it", "[fluid]") {
  // C = 1: a = 1 and b = 1.5. a ends at 2 s, and with an epsilon of 0.5 the window lasts to 3 s; b, with 0.5 left,
  // would end in it, at 2.5 s. At 2.25 s, with b at 0.25, c = 1 starts: b ends at 2.75 s, c at 3.5 s.
  FluidSystem system(FluidOptions{.epsilon = 0.5});
  const std::vector<Use> uses{{system.add_resource(1.0)}};
  const auto at = [](double seconds) { return SimTime::from_ticks(static_cast<std::int64_t>(seconds * 1e12)); };
  const ActivityId a = system.start(at(0.0), {.amount = 1.0, .uses = uses});
  const ActivityId b = system.start(at(0.0), {.amount = 1.5, .uses = uses});
  std::vector<ActivityId> completed;
  CHECK(system.next_completion() == at(2.0));
  system.advance(at(2.25), completed);
  CHECK(completed == std::vector{a});
  CHECK(system.next_completion() == at(2.5));
  const ActivityId c = system.start(at(2.25), {.amount = 1.0, .uses = uses});
  CHECK(system.next_completion() == at(2.75));
  system.advance(at(2.75), completed);
  CHECK(completed == std::vector{a, b});
  CHECK(system.next_completion() == at(3.5));
  system.advance(at(4.0), completed);
  CHECK(completed == std::vector{a, b, c});
}

}  // namespace
}  // namespace moesim
