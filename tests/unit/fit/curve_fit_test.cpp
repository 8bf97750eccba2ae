#include "validate/fit/curve_fit.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "sim/core/random.hpp"

namespace moesim {
namespace {

TEST_CASE("points on a straight line keep to it, but for the doubt") {
  // Without bends stiffness costs nothing; a doubt of 0.05 against two rows or more a knot draws by at most 1 in 40.
  std::vector<CurvePoint> points;
  for (double size = 0.0; size <= 8.0; size += 0.5) {
    points.push_back({size, 0.1 + 0.02 * size});
  }
  const Curve curve = fit_curve(points, CurveOptions{});
  CHECK(curve.first == 0);
  REQUIRE(curve.values.size() == 9);
  for (std::size_t knot = 0; knot <= 8; ++knot) {
    const double line = 0.1 + 0.02 * static_cast<double>(knot);
    CHECK(curve.values[knot] < line);
    CHECK(curve.values[knot] > line * (1.0 - 1.0 / 20.0));
  }
}

TEST_CASE("one point alone is believed but for the doubt") {
  // The least of (v − c)² + 0.05·c² is c = v / 1.05; the knot is the one size.
  const std::vector<CurvePoint> point{{3.0, 0.05}};
  const Curve curve = fit_curve(point, CurveOptions{});
  CHECK(curve.first == 3);
  REQUIRE(curve.values.size() == 1);
  CHECK(curve.values[0] == Approx(0.05 / 1.05));
}

TEST_CASE("between two knots the points' shares are solved for") {
  // Sizes 0 and 0.5 with values 0 and 0.01, no bend to weigh, doubt d: with a, b the knots,
  //   a² + (a/2 + b/2 − 0.01)² + d·(a² + b²) is least where
  //   a·(5/4 + d) + b/4 = 0.005 and a/4 + b·(1/4 + d) = 0.005.
  const double d = 0.5;
  const double determinant = (1.25 + d) * (0.25 + d) - 1.0 / 16.0;
  const double a = (0.005 * (0.25 + d) - 0.005 / 4) / determinant;
  const double b = (0.005 * (1.25 + d) - 0.005 / 4) / determinant;
  const std::vector<CurvePoint> points{{0.0, 0.0}, {0.5, 0.01}};
  const Curve curve = fit_curve(points, CurveOptions{.stiffness = 1.0, .doubt = d, .clip = 1.0});
  REQUIRE(curve.values.size() == 2);
  CHECK(curve.values[0] == Approx(a));
  CHECK(curve.values[1] == Approx(b));
}

TEST_CASE("a single row that is off by a multiple leaves the curve where it was") {
  std::vector<CurvePoint> points;
  for (double size = 0.0; size <= 10.0; size += 0.5) {
    points.push_back({size, 0.05});
  }
  points[8].value = 5.0;
  const Curve curve = fit_curve(points);
  // The row weighs 0.06/(5 − c) and its pull is 0.06 however far off it is, that of one row off by so much; two rows or
  // more a knot hold against it.
  for (const double value : curve.values) {
    CHECK(value == Approx(0.05).margin(0.06));
  }
}

TEST_CASE("a range of sizes that takes ten times as long keeps its step") {
  std::vector<CurvePoint> points;
  for (double size = 0.0; size <= 12.0; size += 0.5) {
    points.push_back({size, size >= 4.0 && size <= 8.0 ? 2.3 : 0.0});
  }
  const Curve curve = fit_curve(points);
  CHECK(value_at(curve, 6.0) == Approx(2.3).margin(0.15));
  CHECK(value_at(curve, 2.0) == Approx(0.0).margin(0.15));
  CHECK(value_at(curve, 11.0) == Approx(0.0).margin(0.15));
}

TEST_CASE("rows that stray about a constant average out") {
  // 25 rows of deviation 0.1: the mean is off by 0.02; a curve free at every knot would stray by 0.07 and more.
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    RandomStream random(seed, "stray");
    std::vector<CurvePoint> points;
    for (double size = 0.0; size <= 12.0; size += 0.5) {
      points.push_back({size, 0.1 + 0.1 * random.normal()});
    }
    const Curve curve = fit_curve(points);
    double square = 0.0;
    for (const double value : curve.values) {
      square += (value - 0.1) * (value - 0.1) / static_cast<double>(curve.values.size());
    }
    CHECK(std::sqrt(square) < 0.08);
  }
}

}  // namespace
}  // namespace moesim
