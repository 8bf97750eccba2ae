#include "sim/placement/integer_program.hpp"

#include <algorithm>
#include <catch2/catch.hpp>

#include "sim/placement/placement.hpp"

using namespace moesim;

TEST_CASE("integer programs: a knapsack by hand") {
  // max 5a + 4b + 3c with 2a + 3b + c ≤ 4: a and c take 3 and bring 8; a and b would take 5. Minimised: −8.
  IntegerProgram program;
  program.columns = {{-5.0, 1.0, true}, {-4.0, 1.0, true}, {-3.0, 1.0, true}};
  program.rows = {{.columns = {0, 1, 2}, .factors = {2.0, 3.0, 1.0}, .sense = 'L', .right = 4.0}};
  const auto solution = solve(program, {});
  REQUIRE(solution.has_value());
  CHECK(solution->objective == Approx(-8.0));
  CHECK(solution->x[0] == Approx(1.0));
  CHECK(solution->x[1] == Approx(0.0).margin(1e-9));
  CHECK(solution->x[2] == Approx(1.0));
}

TEST_CASE("integer programs: what cannot be solved has no solution") {
  IntegerProgram program;
  program.columns = {{1.0, 1.0, true}, {1.0, 1.0, true}};
  program.rows = {{.columns = {0, 1}, .factors = {1.0, 1.0}, .sense = 'G', .right = 3.0}};
  CHECK_FALSE(solve(program, {}).has_value());
}

// Loads 6, 5, 4, 3, 2, 1 in pairs on three ranks: 7 each is perfect.
TEST_CASE("MoETuner: small clusters are solved, large ones fall back and say so") {
  const std::vector<double> loads{6, 5, 4, 3, 2, 1};
  PlacementProblem small{.layers = 1, .experts = 6, .ranks = 3};
  small.loads = loads;
  const auto strategy = find_strategy("moetuner", {}).make();
  const Placement placed = strategy->place(small);
  for (const double load : rank_loads(placed.layers[0], loads)) {
    CHECK(load == Approx(7.0));
  }
  CHECK(strategy->warnings().empty());
  const std::vector<double> many(256, 1.0);
  PlacementProblem large{.layers = 1, .experts = 256, .ranks = 32};
  large.loads = many;
  CHECK(strategy->place(large).layers.size() == 1);
  CHECK(strategy->warnings() ==
        std::vector<std::string>{"its first program would have 8192 binaries a layer, more than the 640 it is given: "
                                 "clusters are heaviest first instead"});
}
