// The times at which flows end, against those of SimGrid (Casanova, Giersch, Legrand, Quinson, Suter: "Versatile,
// scalable, and accurate simulation of distributed applications and platforms", JPDC 74(10), 2014), which computes the
// same max-min rates in another way. MOESIM_SIMGRID_CASES sets how many networks.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/oracle/fluid/simgrid/network_case.hpp"
#include "tests/oracle/fluid/simgrid/simgrid_run.hpp"

namespace moesim::oracle {
namespace {

constexpr double kTolerance = 1e-9;

std::size_t case_count() {
  constexpr std::size_t kDefault = 300;
  const char* wanted = std::getenv("MOESIM_SIMGRID_CASES");
  return wanted == nullptr ? kDefault : std::stoul(wanted);
}

double worst_difference(const std::vector<double>& ours, const std::vector<double>& theirs) {
  double worst = 0.0;
  for (std::size_t flow = 0; flow < ours.size(); ++flow) {
    worst = std::max(worst, std::abs(ours[flow] / theirs[flow] - 1.0));
  }
  return worst;
}

TEST_CASE("Flows of random networks end when they do in SimGrid", "[fluid]") {
  constexpr std::size_t kBatch = 10;  // the time of one SimGrid step grows with all flows
  const std::size_t count = case_count();
  for (std::size_t first = 0; first < count; first += kBatch) {
    std::vector<NetworkCase> cases;
    for (std::size_t number = first; number < std::min(first + kBatch, count); ++number) {
      cases.push_back(random_network(number));
    }
    const SimgridRun theirs = run_in_simgrid(cases);
    for (std::size_t i = 0; i < cases.size(); ++i) {
      CAPTURE(first + i);
      CHECK(worst_difference(finish_times(cases[i]), theirs.finish[i]) < kTolerance);
    }
  }
}

TEST_CASE("Flows of uneven all-to-alls end when they do in SimGrid", "[fluid]") {
  for (const Fabric fabric : {Fabric::kNonBlocking, Fabric::kLeafSpine}) {
    const std::vector<NetworkCase> cases{skewed_all_to_all(24, fabric, 1)};
    const SimgridRun theirs = run_in_simgrid(cases);
    CHECK(worst_difference(finish_times(cases[0]), theirs.finish[0]) < kTolerance);
  }
}

}  // namespace
}  // namespace moesim::oracle
