#include "validate/fit/surface_fit.hpp"

#include <catch2/catch.hpp>
#include <numeric>
#include <vector>

#include "models/kernels/fit_query.hpp"

namespace moesim {
namespace {

constexpr FitFamily kFamily = FitFamily::kLatentGenerationAttention;

/// All of 5 x 5 x 5 places of the family's axes, 0 to 4 each, with a target that is linear in them.
struct Grid {
  Samples samples;
  std::vector<std::uint32_t> rows;
  std::vector<std::vector<double>> places;

  Grid() {
    const std::size_t features = feature_names(kFamily).size();
    samples.columns.resize(features);
    for (int i = 0; i < 125; ++i) {
      std::vector<double> place(features, 0.0);
      int rest = i;
      double target = 0.2;
      double slope = 0.01;
      for (const SurfaceAxis& axis : surface_axes(kFamily)) {
        place[axis.feature] = rest % 5;
        target += slope * place[axis.feature];
        slope += 0.01;
        rest /= 5;
      }
      for (std::size_t f = 0; f < features; ++f) {
        samples.columns[f].push_back(place[f]);
      }
      samples.target.push_back(target);
      places.push_back(place);
    }
    rows.resize(125);
    std::iota(rows.begin(), rows.end(), 0u);
  }
};

TEST_CASE("a surface that is straight costs no bend and is found but for the doubt") {
  // A doubt of 1/1000 of a row draws each knot to the median, at most 0.12 away, by at most 0.12/1000; texts hold steps
  // of less than a thousandth.
  const Grid grid;
  const Surface surface = fit_surface(kFamily, grid.samples, grid.rows);
  for (std::size_t i = 0; i < grid.places.size(); ++i) {
    CHECK(surface.at(grid.places[i]) == Approx(grid.samples.target[i]).margin(1.5e-3));
  }
}

TEST_CASE("one row that is off by multiples moves a surface by little, and not far away at all") {
  Grid grid;
  const Surface before = fit_surface(kFamily, grid.samples, grid.rows);
  constexpr std::size_t kOff = 62;  // the middle of the grid
  const double right = grid.samples.target[kOff];
  grid.samples.target[kOff] += 1.8;  // six times as long
  const Surface after = fit_surface(kFamily, grid.samples, grid.rows);
  // It pulls by at most 0.05 of a row, against its knot's own stiffness, of three axes with 6·0.3 each, and
  // neighbours'.
  CHECK(after.at(grid.places[kOff]) > right);
  CHECK(after.at(grid.places[kOff]) < right + 0.05);
  CHECK(after.at(grid.places[0]) == Approx(before.at(grid.places[0])).margin(5e-3));
}

TEST_CASE("a surface goes through places without rows straight") {
  Grid grid;
  std::erase_if(grid.rows, [](std::uint32_t row) { return row % 7 == 3; });
  const Surface surface = fit_surface(kFamily, grid.samples, grid.rows);
  for (std::size_t i = 3; i < grid.places.size(); i += 7) {
    CHECK(surface.at(grid.places[i]) == Approx(grid.samples.target[i]).margin(3e-3));
  }
}

TEST_CASE("families without axes have no surface") {
  const Grid grid;
  CHECK(surface_axes(FitFamily::kGemm).empty());
  CHECK(fit_surface(FitFamily::kGemm, grid.samples, grid.rows).at(grid.places[7]) == 0.0);
}

}  // namespace
}  // namespace moesim
