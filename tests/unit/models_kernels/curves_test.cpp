#include "models/kernels/curves.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "models/kernels/fit_query.hpp"
#include "sim/core/random.hpp"

namespace moesim {
namespace {

FitQuery gemm_query(std::int64_t m, std::int64_t n, std::int64_t k) {
  return fit_query(Gemm{.m = m, .n = n, .k = k}, find_accelerator("h200-sxm", {}));
}

TEST_CASE("a curve is straight between its knots and constant beyond them") {
  const Curve curve{.first = 2, .values = {0.1, 0.3, -0.1}};
  CHECK(value_at(curve, 2.0) == Approx(0.1));
  CHECK(value_at(curve, 2.25) == Approx(0.15));  // a quarter of the way from 0.1 to 0.3
  CHECK(value_at(curve, 3.5) == Approx(0.1));    // half-way from 0.3 to −0.1
  CHECK(value_at(curve, 4.0) == Approx(-0.1));
  CHECK(value_at(curve, 0.0) == Approx(0.1));
  CHECK(value_at(curve, 20.0) == Approx(-0.1));
}

TEST_CASE("a curve holds for all sizes of its shape and for no other shape") {
  CurveTerms terms;
  // Rows of a GEMM are its size: 2² = 4 rows at the first knot.
  terms.add(*CurveTerms::key_of(gemm_query(1, 512, 1024)), {.first = 2, .values = {0.25, 0.5}});
  CHECK(terms.at(gemm_query(4, 512, 1024)) == Approx(0.25).margin(1e-3));
  CHECK(terms.at(gemm_query(8, 512, 1024)) == Approx(0.5).margin(1e-3));
  CHECK(terms.at(gemm_query(64, 512, 1024)) == Approx(0.5).margin(1e-3));
  CHECK(terms.at(gemm_query(4, 1024, 512)) == 0.0);
  CHECK(terms.at(gemm_query(4, 512, 1025)) == 0.0);
}

TEST_CASE("curves survive their text to a hundredth of their height") {
  RandomStream random(7, "curves");
  CurveTerms terms;
  std::vector<Curve> curves;
  for (std::int64_t shape = 0; shape < 50; ++shape) {
    Curve curve{.first = static_cast<std::int64_t>(random.below(10)), .values = {}};
    const double middle = random.uniform() - 0.5;
    const double height = std::exp(3.0 * random.uniform() - 3.0);  // 0.05 to 1
    for (std::uint64_t i = 0; i <= random.below(16); ++i) {
      curve.values.push_back(middle + height * (random.uniform() - 0.5));
    }
    terms.add(*CurveTerms::key_of(gemm_query(1, 64 * (shape + 1), 4096)), curve);
    curves.push_back(curve);
  }
  const std::string text = terms.text();
  CurveTerms read;
  REQUIRE(CurveTerms::parse(text, read));
  CHECK(read.text() == text);
  for (std::int64_t shape = 0; shape < 50; ++shape) {
    const Curve& curve = curves[static_cast<std::size_t>(shape)];
    for (std::size_t i = 0; i < curve.values.size(); ++i) {
      const FitQuery query =
          gemm_query(std::int64_t{1} << (curve.first + static_cast<std::int64_t>(i)), 64 * (shape + 1), 4096);
      CHECK(read.at(query) == terms.at(query));
      // Half a step, of which 31 reach from the middle to the further extreme, and half a unit of the middle.
      CHECK(read.at(query) == Approx(curve.values[i]).margin(0.5 / 31 + 0.001));
    }
  }
}

TEST_CASE("text that ends within a curve is refused") {
  CurveTerms terms;
  terms.add(12345, {.first = 0, .values = {0.1, 0.2, 0.3}});
  const std::string text = terms.text();
  for (std::size_t length = 1; length < text.size(); ++length) {
    CurveTerms read;
    CHECK_FALSE(CurveTerms::parse(text.substr(0, length), read));
  }
  CurveTerms read;
  CHECK_FALSE(
      CurveTerms::parse("012345"
                        "00"
                        "000"
                        "0",
                        read));  // no knots
  CHECK(CurveTerms::parse("", read));
}

}  // namespace
}  // namespace moesim
