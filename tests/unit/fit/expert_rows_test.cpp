#include "validate/fit/expert_rows.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>
#include <vector>

namespace moesim {
namespace {

TEST_CASE("balanced rows fill the busiest rank evenly") {
  ExpertRows rows;
  // 4096 tokens of 8 copies over 256 experts: 128 each; 8 ranks hold 32 experts.
  CHECK(rows.of({.tokens = 4096, .experts_per_token = 8, .experts = 256, .expert_parallel = 8}) ==
        std::vector<std::int64_t>(32, 128));
  // 4 copies reach 4 of 8 ranks, one each.
  const auto few = rows.of({.tokens = 1, .experts_per_token = 4, .experts = 64, .expert_parallel = 8});
  CHECK(std::accumulate(few.begin(), few.end(), std::int64_t{0}) == 1);
}

TEST_CASE("a power law keeps all copies and no expert gets a token twice") {
  ExpertRows rows;
  for (const std::int64_t tokens : {1, 7, 100, 4096}) {
    const auto all =
        rows.of({.tokens = tokens, .experts_per_token = 8, .experts = 64, .expert_parallel = 1, .exponent = 1.2});
    CHECK(std::accumulate(all.begin(), all.end(), std::int64_t{0}) == 8 * tokens);
    CHECK(*std::max_element(all.begin(), all.end()) <= tokens);
  }
  // The busiest of 8 ranks has more than an eighth, and less than all.
  const auto busiest =
      rows.of({.tokens = 4096, .experts_per_token = 8, .experts = 64, .expert_parallel = 8, .exponent = 1.2});
  const auto sum = std::accumulate(busiest.begin(), busiest.end(), std::int64_t{0});
  CHECK(sum > 4096);
  CHECK(sum < 8 * 4096);
}

TEST_CASE("what is called balanced is not even where tokens do not fill the stride") {
  ExpertRows rows;
  // 48 tokens, 8 of 256 experts, stride 32: token t takes the experts t + 32·i, so that those at 0 … 15 beyond a
  // multiple of 32 have two tokens and the others one. Rank 0 of 16 holds experts 0 … 15.
  CHECK(rows.of({.tokens = 48, .experts_per_token = 8, .experts = 256, .expert_parallel = 16}) ==
        std::vector<std::int64_t>(16, 2));
  // 4 tokens, 2 of 16 experts, stride 8: token t takes experts 2t and 2t + 8; rank 0 of 2 holds experts 0 … 7.
  CHECK(rows.of({.tokens = 4, .experts_per_token = 2, .experts = 16, .expert_parallel = 2}) ==
        std::vector<std::int64_t>{1, 0, 1, 0, 1, 0, 1, 0});
}

TEST_CASE("a power law's rows fall from the busiest expert on, more steeply with a larger exponent") {
  ExpertRows rows;
  const RoutedLoad mild{.tokens = 4096, .experts_per_token = 8, .experts = 128, .exponent = 1.01};
  RoutedLoad steep = mild;
  steep.exponent = 1.2;
  const auto few = rows.of(mild);
  const auto many = rows.of(steep);
  for (std::size_t i = 1; i < few.size(); ++i) {  // means that fall, each rounded up or down
    CHECK(few[i] <= few[i - 1] + 1);
    CHECK(many[i] <= many[i - 1] + 1);
  }
  // x^-1.01 from 1 to 3277: log-uniform but for little, so that the median expert has √3277 ≈ 57 parts and the mean
  // (3277 − 1)/ln 3277 ≈ 405: half of all experts have less than a seventh of the mean of 256 rows.
  CHECK(few[64] < 256 / 4);
  CHECK(few[64] > 256 / 14);
  CHECK(many[64] < few[64]);
}

}  // namespace
}  // namespace moesim
