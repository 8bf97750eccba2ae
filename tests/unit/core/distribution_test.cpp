#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <vector>

#include "sim/core/random.hpp"

using namespace moesim;

// All bounds are five standard deviations of the estimator: by chance exceeded once in 1.7 million, and the seeds are
// fixed, so that what passes once passes always.

namespace {

constexpr int kDraws = 200000;
constexpr double kSigmas = 5.0;

struct Moments {
  double mean = 0;
  double second = 0;  ///< central
  double third = 0;
};

Moments moments(const std::function<double()>& next) {
  std::vector<double> values(kDraws);
  Moments m;
  for (double& value : values) {
    value = next();
    m.mean += value / kDraws;
  }
  for (const double value : values) {
    m.second += std::pow(value - m.mean, 2) / kDraws;
    m.third += std::pow(value - m.mean, 3) / kDraws;
  }
  return m;
}

/// χ² of counts against equally likely cells.
double chi_square(const std::vector<int>& counts) {
  double total = 0;
  for (const int count : counts) {
    total += count;
  }
  const double expected = total / static_cast<double>(counts.size());
  double sum = 0;
  for (const int count : counts) {
    sum += (count - expected) * (count - expected) / expected;
  }
  return sum;
}

/// χ² with n degrees of freedom has mean n and variance 2n. Both sides: too even is as wrong as too uneven.
void check_chi_square(const std::vector<int>& counts) {
  const double freedom = static_cast<double>(counts.size()) - 1;
  CHECK(chi_square(counts) == Approx(freedom).margin(kSigmas * std::sqrt(2 * freedom)));
}

}  // namespace

TEST_CASE("uniform has the moments of the uniform distribution") {
  RandomStream random(1, "uniform");
  const Moments m = moments([&] { return random.uniform(); });
  // mean 1/2, variance 1/12, third central moment 0. Variances of the estimators over n: of the mean 1/12; of the
  // second moment μ4 − μ2² = 1/80 − 1/144 = 1/180; of the third μ6 − μ3² + 9μ2³ − 6μ4μ2 = 1/448 + 9/1728 − 6/960.
  CHECK(m.mean == Approx(0.5).margin(kSigmas * std::sqrt(1.0 / 12 / kDraws)));
  CHECK(m.second == Approx(1.0 / 12).margin(kSigmas * std::sqrt(1.0 / 180 / kDraws)));
  CHECK(std::abs(m.third) < kSigmas * std::sqrt((1.0 / 448 + 9.0 / 1728 - 6.0 / 960) / kDraws));
}

TEST_CASE("uniform stays between 0 and 1 and fills the interval evenly") {
  RandomStream random(2, "uniform cells");
  std::vector<int> cells(1000);
  for (int i = 0; i < kDraws; ++i) {
    const double value = random.uniform();
    REQUIRE(value >= 0.0);
    REQUIRE(value < 1.0);
    ++cells[static_cast<std::size_t>(value * 1000)];
  }
  check_chi_square(cells);
}

TEST_CASE("pairs of successive numbers fill the square evenly") {
  RandomStream random(3, "pairs");
  std::vector<int> cells(32 * 32);
  for (int i = 0; i < kDraws; ++i) {
    const std::uint64_t row = random.below(32);
    ++cells[row * 32 + random.below(32)];
  }
  check_chi_square(cells);
}

TEST_CASE("below is even over a range that is no power of two") {
  RandomStream random(4, "below");
  std::vector<int> cells(257);
  for (int i = 0; i < kDraws; ++i) {
    ++cells[random.below(257)];
  }
  check_chi_square(cells);
}

TEST_CASE("normal has the moments and the shape of the standard normal") {
  RandomStream random(5, "normal");
  const Moments m = moments([&] { return random.normal(); });
  // Estimators over n: mean variance 1; second moment 3 − 1 = 2; third 15 + 9 − 18 = 6.
  CHECK(std::abs(m.mean) < kSigmas * std::sqrt(1.0 / kDraws));
  CHECK(m.second == Approx(1.0).margin(kSigmas * std::sqrt(2.0 / kDraws)));
  CHECK(std::abs(m.third) < kSigmas * std::sqrt(6.0 / kDraws));

  // Its distribution function makes it uniform: Φ(x) = erfc(−x/√2)/2.
  std::vector<int> cells(100);
  for (int i = 0; i < kDraws; ++i) {
    const double probability = std::erfc(-random.normal() / std::sqrt(2.0)) / 2;
    ++cells[std::min<std::size_t>(99, static_cast<std::size_t>(probability * 100))];
  }
  check_chi_square(cells);
}

TEST_CASE("exponential has the moments and the shape of the exponential with mean 1") {
  RandomStream random(6, "exponential");
  const Moments m = moments([&] { return random.exponential(); });
  // Central moments 1, 1, 2, 9, 44, 265. Estimators over n: mean 1; second 9 − 1 = 8; third
  // μ6 − μ3² + 9μ2³ − 6μ4μ2 = 265 − 4 + 9 − 54 = 216.
  CHECK(m.mean == Approx(1.0).margin(kSigmas * std::sqrt(1.0 / kDraws)));
  CHECK(m.second == Approx(1.0).margin(kSigmas * std::sqrt(8.0 / kDraws)));
  CHECK(m.third == Approx(2.0).margin(kSigmas * std::sqrt(216.0 / kDraws)));

  std::vector<int> cells(100);
  for (int i = 0; i < kDraws; ++i) {
    const double value = random.exponential();
    REQUIRE(value >= 0.0);
    REQUIRE(std::isfinite(value));
    ++cells[std::min<std::size_t>(99, static_cast<std::size_t>(-std::expm1(-value) * 100))];
  }
  check_chi_square(cells);
}
