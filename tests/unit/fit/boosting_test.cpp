#include "validate/fit/boosting.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "sim/core/random.hpp"

namespace moesim {
namespace {

std::vector<std::uint32_t> all_rows(std::size_t count) {
  std::vector<std::uint32_t> rows(count);
  std::iota(rows.begin(), rows.end(), 0u);
  return rows;
}

TEST_CASE("a constant target is learned by the first tree") {
  // The first tree is one leaf with the mean, shrunk by the penalty: 0.5·n/(n + λ) = 0.5·1000/1001; the others add
  // what is left, so that the sum tends to 0.5.
  Samples samples{.columns = {std::vector<double>(1000, 1.0)}, .target = std::vector<double>(1000, 0.5)};
  BoostingOptions options;
  options.clip = 10.0;
  const TreeSum trees = boost(samples, all_rows(1000), options);
  CHECK(trees.at(std::vector{1.0}) == Approx(0.5).margin(1e-3));
}

TEST_CASE("a step is found between the values that part it") {
  Samples samples{.columns = {{}, {}}, .target = {}};
  RandomStream random(1, "step");
  for (int i = 0; i < 2000; ++i) {
    const double x = random.uniform();
    samples.columns[0].push_back(random.uniform());  // says nothing
    samples.columns[1].push_back(x);
    samples.target.push_back(x < 0.25 ? -1.0 : 0.5);
  }
  const TreeSum trees = boost(samples, all_rows(2000), {});
  for (const double other : {0.1, 0.9}) {
    CHECK(trees.at(std::vector{other, 0.1}) == Approx(-1.0).margin(0.02));
    CHECK(trees.at(std::vector{other, 0.24}) == Approx(-1.0).margin(0.02));
    CHECK(trees.at(std::vector{other, 0.26}) == Approx(0.5).margin(0.02));
    CHECK(trees.at(std::vector{other, 0.9}) == Approx(0.5).margin(0.02));
  }
}

TEST_CASE("a smooth function of two variables is learned to a few percent of its range") {
  Samples samples{.columns = {{}, {}}, .target = {}};
  RandomStream random(2, "smooth");
  const auto f = [](double x, double y) { return std::sin(3.0 * x) * y; };
  for (int i = 0; i < 5000; ++i) {
    const double x = random.uniform();
    const double y = random.uniform();
    samples.columns[0].push_back(x);
    samples.columns[1].push_back(y);
    samples.target.push_back(f(x, y));
  }
  const TreeSum trees = boost(samples, all_rows(5000), {});
  double sum = 0.0;
  for (int i = 0; i < 500; ++i) {
    const double x = random.uniform();
    const double y = random.uniform();
    sum += std::abs(trees.at(std::vector{x, y}) - f(x, y));
  }
  CHECK(sum / 500.0 < 0.02);
}

TEST_CASE("one wild row in a hundred does not move the others") {
  // With residuals clipped at c, one row of value 100 among 99 zeros pulls the mean by at most c/100 per unit.
  Samples samples{.columns = {std::vector<double>(1000, 0.0)}, .target = std::vector<double>(1000, 0.0)};
  for (std::size_t i = 0; i < 1000; i += 100) {
    samples.target[i] = 1.5;
  }
  const TreeSum trees = boost(samples, all_rows(1000), {});
  CHECK(std::abs(trees.at(std::vector{0.0})) < 0.01);
}

TEST_CASE("the same rows give the same trees") {
  Samples samples{.columns = {{}}, .target = {}};
  RandomStream random(3, "same");
  for (int i = 0; i < 500; ++i) {
    samples.columns[0].push_back(random.uniform());
    samples.target.push_back(random.normal() * 0.1);
  }
  CHECK(boost(samples, all_rows(500), {}).text() == boost(samples, all_rows(500), {}).text());
}

TEST_CASE("trees read back from their text predict the same") {
  Samples samples{.columns = {{}, {}}, .target = {}};
  RandomStream random(4, "text");
  for (int i = 0; i < 1000; ++i) {
    samples.columns[0].push_back(random.uniform());
    samples.columns[1].push_back(random.normal());
    samples.target.push_back(samples.columns[0].back() * samples.columns[1].back());
  }
  const TreeSum trees = boost(samples, all_rows(1000), {});
  TreeSum again;
  std::string fault;
  REQUIRE(TreeSum::parse(trees.text(), trees.edges(), again, fault));
  CHECK(again.trees() == trees.trees());
  for (int i = 0; i < 200; ++i) {
    const std::vector<double> x{random.uniform(), random.normal()};
    CHECK(again.at(x) == trees.at(x));
  }
}

TEST_CASE("texts that are no trees are refused") {
  TreeSum out;
  std::string fault;
  const std::vector<std::vector<double>> edges{{0.5}};
  CHECK(TreeSum::parse("A00.000.000", edges, out, fault));
  CHECK_FALSE(TreeSum::parse("A00.000", edges, out, fault));
  CHECK(fault == "expected whole trees, found one that ends early");
  CHECK_FALSE(TreeSum::parse("B00.000.000", edges, out, fault));
  CHECK(fault == "expected a tree, found something else at character 0");
  CHECK_FALSE(TreeSum::parse("A01.000.000", edges, out, fault));  // there is no second threshold
  CHECK_FALSE(TreeSum::parse("A00.000.00", edges, out, fault));
  CHECK_FALSE(TreeSum::parse("A00.000.0 0", edges, out, fault));
  CHECK_FALSE(TreeSum::parse("", {{1.0, 1.0}}, out, fault));
  CHECK(fault == "expected at most 4096 edges that rise");
}

}  // namespace
}  // namespace moesim
