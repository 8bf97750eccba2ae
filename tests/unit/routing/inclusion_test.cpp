#include "workloads/routing/inclusion.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "sim/core/random.hpp"
#include "tests/unit/routing/fixture.hpp"
#include "workloads/routing/cumulative_table.hpp"
#include "workloads/routing/expert_sampler.hpp"

using namespace moesim;

namespace {

std::vector<double> random_weights(std::size_t count, double spread, std::uint64_t seed) {
  RandomStream random(seed, "inclusion-test");
  std::vector<double> weights(count);
  for (double& weight : weights) {
    weight = std::exp(spread * random.normal());
  }
  return weights;
}

/// P(e drawn) = Σ over ordered draws, written out: first draw w/W, then without the drawn ones.
double inclusion_by_enumeration(const std::vector<double>& weights, std::vector<bool>& taken, std::size_t left,
                                std::size_t item) {
  if (left == 0) {
    return 0.0;
  }
  double total = 0.0;
  for (std::size_t e = 0; e < weights.size(); ++e) {
    total += taken[e] ? 0.0 : weights[e];
  }
  double sum = weights[item] / total;
  for (std::size_t e = 0; e < weights.size(); ++e) {
    if (!taken[e] && e != item) {
      taken[e] = true;
      sum += weights[e] / total * inclusion_by_enumeration(weights, taken, left - 1, item);
      taken[e] = false;
    }
  }
  return sum;
}

}  // namespace

TEST_CASE("inclusion: successive sampling agrees with writing out every order of draws") {
  for (const double spread : {0.1, 1.0, 2.5}) {
    const std::vector<double> weights = random_weights(7, spread, 3);
    for (std::size_t k = 1; k <= 4; ++k) {
      const std::vector<double> inclusion = successive_inclusion(weights, k, nullptr);
      for (std::size_t e = 0; e < weights.size(); ++e) {
        std::vector<bool> taken(weights.size(), false);
        CHECK(inclusion[e] == Approx(inclusion_by_enumeration(weights, taken, k, e)).epsilon(1e-4));
      }
    }
  }
}

TEST_CASE("inclusion: k items are drawn, whatever the weights") {
  for (const std::size_t k : {1U, 6U, 22U}) {
    const std::vector<double> inclusion = successive_inclusion(random_weights(128, 1.2, k), k, nullptr);
    CHECK(std::accumulate(inclusion.begin(), inclusion.end(), 0.0) == Approx(double(k)).epsilon(1e-5));
  }
}

TEST_CASE("inclusion: calibrated weights give the probabilities asked for") {
  for (const double spread : {0.3, 0.8, 1.3}) {
    const std::vector<double> wanted = inclusion_from_loads(random_weights(64, spread, 5), 6);
    const CalibratedWeights calibrated = calibrate_weights(wanted, 6, nullptr, 1e-4);
    CHECK(calibrated.worst_deviation < 1e-4);
    const std::vector<double> reached = successive_inclusion(calibrated.weights, 6, nullptr);
    for (std::size_t e = 0; e < wanted.size(); ++e) {
      CHECK(reached[e] == Approx(wanted[e]).epsilon(2e-4));
    }
  }
}

TEST_CASE("inclusion: loads become probabilities that add up to k, none above 1") {
  // 10, 1, 1 with k = 2: the first would be 20/12 and is held at 1; the others share 1.
  CHECK(inclusion_from_loads(std::vector{10.0, 1.0, 1.0}, 2) == std::vector{1.0, 0.5, 0.5});
  CHECK(inclusion_from_loads(std::vector{3.0, 1.0}, 1) == std::vector{0.75, 0.25});
  CHECK(inclusion_from_loads(std::vector{1.0, 0.0, 0.0}, 2) == std::vector{1.0, 0.5, 0.5});
}

TEST_CASE("group design: groups are drawn as often as their share asks") {
  // Shares 4 : 2 : 1 : 1 of 8, two groups: α = c·share held to 1 gives 1, then 2 : 1 : 1 of the other one: 0.5 0.25
  // 0.25.
  const GroupDesign design(std::vector{4.0, 2.0, 1.0, 1.0}, std::vector{0.0, 0.0, 0.0, 0.0}, 2);
  const std::vector<double> expected = {1.0, 0.5, 0.25, 0.25};
  constexpr int kDraws = 200000;
  RandomStream random(1, "group-test");
  std::vector<int> drawn(4, 0);
  for (int i = 0; i < kDraws; ++i) {
    const std::uint64_t groups = design.draw(random.uniform());
    REQUIRE(__builtin_popcountll(groups) == 2);
    for (std::size_t g = 0; g < 4; ++g) {
      drawn[g] += static_cast<int>(groups >> g & 1);
    }
  }
  for (std::size_t g = 0; g < 4; ++g) {
    CHECK(design.inclusion()[g] == Approx(expected[g]).epsilon(1e-5));
    // Five standard deviations of a binomial share.
    CHECK(drawn[g] / double(kDraws) == Approx(expected[g]).margin(5.0 * std::sqrt(0.25 / kDraws)));
  }
}

TEST_CASE("group design: the probabilities of all sets add up to one") {
  const GroupDesign design(std::vector{1.0, 0.7, 1.4, 0.9, 2.0}, std::vector<double>(5, 0.0), 2);
  double sum = 0.0;
  for (std::size_t a = 0; a < 5; ++a) {
    for (std::size_t b = a + 1; b < 5; ++b) {
      sum += design.odds()[a] * design.odds()[b];
    }
  }
  CHECK(sum == Approx(1.0));
}

TEST_CASE("group design: many groups are drawn one by one to the same law") {
  // Twenty groups, too many to list their sets: shares 1 .. 20 of 210, three groups: α = 3·share/210.
  std::vector<double> shares(20);
  std::iota(shares.begin(), shares.end(), 1.0);
  const GroupDesign design(shares, std::vector<double>(20, 0.0), 3);
  constexpr int kDraws = 100000;
  RandomStream random(2, "group-test");
  std::vector<int> drawn(20, 0);
  for (int i = 0; i < kDraws; ++i) {
    const std::uint64_t groups = design.draw(random.uniform());
    REQUIRE(__builtin_popcountll(groups) == 3);
    for (std::size_t g = 0; g < 20; ++g) {
      drawn[g] += static_cast<int>(groups >> g & 1);
    }
  }
  for (std::size_t g = 0; g < 20; ++g) {
    CHECK(drawn[g] / double(kDraws) == Approx(3.0 * shares[g] / 210.0).margin(5.0 * std::sqrt(0.25 / kDraws)));
  }
}

TEST_CASE("inclusion: within drawn groups the experts still add up to k and meet what was asked") {
  std::vector<double> wanted = inclusion_from_loads(random_weights(64, 0.8, 9), 8);
  std::vector<double> shares(8, 0.0);
  std::vector<double> least(8, 0.0);
  for (std::size_t e = 0; e < 64; ++e) {
    shares[e / 8] += wanted[e];
    least[e / 8] = std::max(least[e / 8], 1.02 * wanted[e]);
  }
  const GroupDesign design(shares, least, 4);
  const CalibratedWeights calibrated = calibrate_weights(wanted, 8, &design, 1e-4);
  CHECK(calibrated.worst_deviation < 1e-4);
  const std::vector<double> reached = successive_inclusion(calibrated.weights, 8, &design);
  CHECK(std::accumulate(reached.begin(), reached.end(), 0.0) == Approx(8.0).epsilon(1e-4));
}

TEST_CASE("cumulative table: u falls to the item whose stretch it is in") {
  // Weights 1, 0, 2, 1 in the order 2, 1, 0, 3: [0, ½) → 2, [½, ¾) → 0, [¾, 1) → 3; item 1 has no stretch.
  const CumulativeTable table(std::vector{1.0, 0.0, 2.0, 1.0}, std::vector<ExpertIndex>{2, 1, 0, 3});
  for (int i = 0; i < 1000; ++i) {
    const double u = i / 1000.0;
    CHECK(table.at(u) == (u < 0.5 ? 2 : u < 0.75 ? 0 : 3));
  }
  CHECK(table.at(1.0 - 0x1p-53) == 3);
}
