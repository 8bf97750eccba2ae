#include "workloads/routing/routers/select.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/unit/routers/fixture.hpp"
#include "workloads/routing/routers/select_eight.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

/// Sorts groups by worth, then the experts of the best groups by score; ties to the lower number.
std::vector<ExpertIndex> by_sorting(const SelectRule& rule, const float* row) {
  const std::size_t size = rule.experts / rule.groups;
  std::vector<float> worth(rule.groups);
  for (std::size_t g = 0; g < rule.groups; ++g) {
    std::vector<float> members(row + g * size, row + (g + 1) * size);
    std::sort(members.rbegin(), members.rend());
    worth[g] = members[0] + (rule.group_score == GroupScore::kBestTwo && size > 1 ? members[1] : 0.0F);
  }
  std::vector<std::size_t> groups(rule.groups);
  std::iota(groups.begin(), groups.end(), std::size_t{0});
  std::stable_sort(groups.begin(), groups.end(), [&](std::size_t a, std::size_t b) { return worth[a] > worth[b]; });
  groups.resize(rule.limits() ? rule.groups_per_token : rule.groups);
  std::vector<ExpertIndex> experts;
  for (std::size_t e = 0; e < rule.experts; ++e) {
    if (std::find(groups.begin(), groups.end(), e / size) != groups.end()) {
      experts.push_back(static_cast<ExpertIndex>(e));
    }
  }
  std::stable_sort(experts.begin(), experts.end(), [&](ExpertIndex a, ExpertIndex b) { return row[a] > row[b]; });
  experts.resize(rule.k);
  return experts;
}

}  // namespace

TEST_CASE("select: the k best, group-limited, as sorting finds them") {
  // Sizes that fit 16 lanes and sizes that do not; scores with and without ties.
  const std::vector<SelectRule> rules = {
      {.experts = 256, .k = 8, .groups = 8, .groups_per_token = 4, .group_score = GroupScore::kBestTwo},
      {.experts = 256, .k = 8, .groups = 8, .groups_per_token = 4},
      {.experts = 160, .k = 6, .groups = 8, .groups_per_token = 3},
      {.experts = 256, .k = 8},
      {.experts = 384, .k = 8},
      {.experts = 64, .k = 6},
      {.experts = 16, .k = 16},
      {.experts = 16, .k = 1, .groups = 1},
      {.experts = 8, .k = 2},
      {.experts = 60, .k = 4},
      {.experts = 1024, .k = 16, .groups = 16, .groups_per_token = 2, .group_score = GroupScore::kBestTwo},
      {.experts = 2048, .k = 2},
      {.experts = 128, .k = 20},
      {.experts = 4, .k = 2, .groups = 4, .groups_per_token = 2, .group_score = GroupScore::kBestTwo}};
  constexpr std::size_t kTokens = 200;
  for (const SelectRule& rule : rules) {
    for (const Ties ties : {Ties::kNone, Ties::kMany}) {
      CAPTURE(rule.experts, rule.k, rule.groups, rule.groups_per_token, ties == Ties::kMany);
      const std::vector<float> scores = random_scores(kTokens, rule.experts, rule.experts + rule.k, ties);
      std::vector<ExpertIndex> fast(kTokens * rule.k);
      std::vector<ExpertIndex> portable(kTokens * rule.k);
      select_experts(rule, scores.data(), kTokens, fast.data());
      select_experts_portable(rule, scores.data(), kTokens, portable.data());
      CHECK(fast == portable);
      if (eight::can_select(rule)) {
        eight::select(rule, scores.data(), kTokens, fast.data());
        CHECK(fast == portable);
      }
      for (std::size_t t = 0; t < kTokens; ++t) {
        const std::vector<ExpertIndex> expected = by_sorting(rule, scores.data() + t * rule.experts);
        REQUIRE(
            std::equal(expected.begin(), expected.end(), portable.begin() + static_cast<std::ptrdiff_t>(t * rule.k)));
      }
    }
  }
}

TEST_CASE("select: experts struck out with minus infinity come last") {
  std::vector<float> scores(32, -std::numeric_limits<float>::infinity());
  scores[30] = -5.0F;
  scores[7] = -4.0F;
  std::vector<ExpertIndex> out(3);
  select_experts({.experts = 32, .k = 3}, scores.data(), 1, out.data());
  CHECK(out == std::vector<ExpertIndex>{7, 30, 0});
}

TEST_CASE("select: the sigmoid is right to 3e-7 and the same with and without wide vectors") {
  std::vector<float> x;
  for (int i = -4000; i <= 4000; ++i) {
    x.push_back(static_cast<float>(i) * 0.021F);  // −84 … 84
  }
  std::vector<float> bias(x.size());
  RandomStream random(3, "test.bias");
  for (float& b : bias) {
    b = static_cast<float>(random.normal());
  }
  std::vector<float> wide(x.size());
  std::vector<float> portable(x.size());
  biased_sigmoid(x, {}, wide);
  biased_sigmoid_portable(x, {}, portable);
  CHECK(wide == portable);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = 1.0 / (1.0 + std::exp(-static_cast<double>(x[i])));
    REQUIRE(std::abs(portable[i] - exact) <= 3e-7 * exact);
  }
  exponentials(x, 3.0F, wide);
  exponentials_portable(x, 3.0F, portable);
  CHECK(wide == portable);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp(static_cast<double>(x[i] - 3.0F));
    REQUIRE(std::abs(portable[i] - exact) <= 3e-7 * exact);
  }
  biased_sigmoid(x, bias, wide);
  biased_sigmoid_portable(x, bias, portable);
  CHECK(wide == portable);
  CHECK(wide[4000] == 0.5F + bias[4000]);
}
