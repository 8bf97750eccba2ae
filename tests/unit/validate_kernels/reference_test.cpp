#include "validate/kernels/reference.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "sim/core/random.hpp"
#include "validate/kernels/statistics.hpp"

namespace moesim::bench {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST_CASE("the relative error is of the Frobenius norm, and NaN never passes") {
  // (3, 4) off by (0, 0.5): 0.5/5.
  CHECK(relative_error(std::array{3.0, 4.5}, std::array{3.0, 4.0}) == Approx(0.1));
  CHECK(relative_error(std::array{std::nan(""), 4.0}, std::array{3.0, 4.0}) == kInfinity);
  CHECK(relative_error(std::array{0.0}, std::array{0.0}) == 0.0);
  CHECK(relative_error(std::array{1e-9}, std::array{0.0}) == kInfinity);
}

TEST_CASE("SwiGLU at hand-worked points") {
  CHECK(swiglu(0.0, 5.0) == 0.0);
  CHECK(swiglu(std::log(3.0), 2.0) == Approx(std::log(3.0) * 0.75 * 2.0));  // 1/(1 + 1/3) = 3/4
  CHECK(swiglu(-std::log(3.0), 1.0) == Approx(-std::log(3.0) * 0.25));
}

TEST_CASE("attention weighs values by the softmax of the scores") {
  // Two keys whose scores differ by ln 3: weights 1/4 and 3/4.
  const auto out = attention(
      2, 1, 2, 1.0, [](std::int64_t) { return 1.0; },
      [](std::int64_t key, std::int64_t) { return key == 1 ? 700.0 + std::log(3.0) : 700.0; },
      [](std::int64_t key, std::int64_t c) { return key == 1 ? 8.0 + static_cast<double>(c) : 0.0; });
  REQUIRE(out.size() == 2);
  CHECK(out[0] == Approx(6.0));
  CHECK(out[1] == Approx(6.75));
}

TEST_CASE("softmax routing takes the greatest and normalises over them") {
  const std::array<float, 4> logits{0.0F, std::log(6.0F), std::log(2.0F), -1.0F};
  const Choice choice = choose(logits, {}, RouterScore::kSoftmax, 2, 1, 1, 1.0);
  CHECK(choice.experts == std::vector<int>{1, 2});
  CHECK(choice.weights[0] == Approx(0.75));
  CHECK(choice.weights[1] == Approx(0.25));
  CHECK(choice.margin == Approx(std::log(2.0)));  // ahead of expert 0
}

TEST_CASE("sigmoid routing chooses with the bias, weighs without it, and keeps to the best groups") {
  // Sigmoids: 1/2, 3/4 | 9/10, 1/10 | 1/2, 1/2; with biases the groups' sums are 1.25, 1.0 and 1.4.
  const std::array<float, 6> logits{0.0F, std::log(3.0F), std::log(9.0F), -std::log(9.0F), 0.0F, 0.0F};
  const std::array<float, 6> bias{0.0F, 0.0F, 0.0F, 0.0F, 0.4F, 0.0F};
  const Choice choice = choose(logits, bias, RouterScore::kSigmoid, 2, 3, 2, 2.0);
  CHECK(choice.experts == std::vector<int>{4, 1});  // 0.9 and 0.75; expert 2's 0.9 stands in the group left out
  CHECK(choice.weights[0] == Approx(2.0 * 0.5 / 1.25));
  CHECK(choice.weights[1] == Approx(2.0 * 0.75 / 1.25));
  CHECK(choice.margin == Approx(0.15));  // of 4 over 1; of 1 over 0 and of the groups it is 0.25
}

TEST_CASE("RMSNorm and the stable order") {
  const auto out = rms_norm(std::array{3.0, -4.0}, std::array{1.0, 2.0}, 0.5);
  CHECK(out[0] == Approx(3.0 / std::sqrt(13.0)));  // mean of squares 12.5, plus 0.5
  CHECK(out[1] == Approx(-8.0 / std::sqrt(13.0)));
  CHECK(stable_order(std::array{2, 0, 2, 1, 0}) == std::vector<int>{1, 4, 3, 0, 2});
}

TEST_CASE("the summary of samples is that of their order") {
  const Summary summary = summary_of({3.0, 1.0, 2.0, 100.0, 2.0, 2.5, 1.5});
  CHECK(summary.median == 2.0);
  CHECK(summary.least == 1.0);
  // Sorted 1 1.5 2 2 2.5 3 100; the outer sixth (one) is cut on each side: (3 − 1.5)/2/2.
  CHECK(summary.spread == Approx(0.375));
  // Distances 1 1 0 98 0 0.5 0.5, their median 0.5: √(π/2)·1.4826·0.5/√7/2.
  CHECK(summary.deviation == Approx(1.2533141 * 1.4826 * 0.5 / std::sqrt(7.0) / 2.0));
  CHECK(median({4.0, 1.0, 3.0, 2.0}) == 2.5);
}

TEST_CASE("the deviation is the standard error of a median of normal samples") {
  // 400 medians of 101 normal samples around 10: their scatter against the mean of what each says of itself.
  RandomStream random(5, "medians");
  std::vector<double> medians;
  double said = 0.0;
  constexpr int kRuns = 400;
  for (int run = 0; run < kRuns; ++run) {
    std::vector<double> samples;
    for (int i = 0; i < 101; ++i) {
      samples.push_back(10.0 + random.normal());
    }
    const Summary summary = summary_of(samples);
    medians.push_back(summary.median);
    said += summary.deviation * summary.median / kRuns;
  }
  double variance = 0.0;
  for (const double value : medians) {
    variance += (value - 10.0) * (value - 10.0) / kRuns;
  }
  // A standard deviation from 400 values is itself known to 1/√800 = 3.5 %; four of those.
  CHECK(said == Approx(std::sqrt(variance)).epsilon(0.15));
}

TEST_CASE("sampling stops when settled, or when time is up, and never before it has begun") {
  const StopRule rule{.deviation = 0.01, .least = 5, .most = 50, .seconds = 1.0};
  CHECK(stop(rule, {}, 9.0) == Stop::kGoOn);
  CHECK(stop(rule, {1.0}, 0.5) == Stop::kGoOn);
  CHECK(stop(rule, {1.0}, 1.0) == Stop::kTimeLimit);
  CHECK(stop(rule, {1.0, 1.0, 1.0, 1.0}, 0.5) == Stop::kGoOn);
  CHECK(stop(rule, {1.0, 1.0, 1.0, 1.0, 1.0}, 0.5) == Stop::kSettled);
  CHECK(stop(rule, {1.0, 2.0, 3.0, 4.0, 5.0}, 0.5) == Stop::kGoOn);
  CHECK(stop(rule, std::vector<double>{1.0, 2.0, 3.0, 4.0, 5.0}, 2.0) == Stop::kTimeLimit);
}

}  // namespace
}  // namespace moesim::bench
