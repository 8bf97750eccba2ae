#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "tests/unit/routers/fixture.hpp"
#include "workloads/routing/routers/top_two.hpp"

// Routers with capacity: hand-worked cases, and literal loops on random scores.

using namespace moesim;
using namespace moesim::test;

TEST_CASE("switch: rows go to tokens in their order, the rest go to no expert") {
  // Six tokens, two experts, factor 1: round(1·6/2) = 3 rows, but at least 2. Tokens 0, 1, 2, 4 want expert 0.
  const auto router = make_router("switch", R"({"capacity_factor": 1, "least_rows": 2})", context_of(2, 1));
  const RoutedTokens routed =
      route(*router, {1.0F, 0.0F, 2.0F, 0.0F, 1.0F, 0.0F, 0.0F, 1.0F, 3.0F, 0.0F, 0.0F, 2.0F}, 2);
  CHECK(routed.experts == std::vector<ExpertIndex>{0, 0, 0, 1, kNoExpert, 1});
  CHECK(routed.wished == std::vector<ExpertIndex>{0, 0, 0, 1, 0, 1});
  CHECK(routed.dropped == 1);
  CHECK(routed.choices == 6);
  CHECK(routed.weights[0] == Approx(1.0 / (1.0 + std::exp(-1.0))));  // the softmax itself, not renormalised to 1
  CHECK(routed.weights[4] == 0.0F);
}

TEST_CASE("switch: capacity is max(round(CF S / E), 4), with the factor of the phase or the model") {
  RouterContext context = context_of(128, 1);
  const auto rows = [](const TokenRouter& router, std::size_t tokens, RouterPhase phase) {
    return router.buffer_rows(tokens, phase).value();
  };
  const auto plain = make_router("switch", "{}", context);
  CHECK(rows(*plain, 1024, RouterPhase::kInference) == 16);  // 2·1024/128
  CHECK(rows(*plain, 1024, RouterPhase::kTraining) == 10);   // 1.25·8
  CHECK(rows(*plain, 100, RouterPhase::kInference) == 4);    // 1.5625 rounds to 2; at least 4
  CHECK(rows(*plain, 350, RouterPhase::kInference) == 5);    // 5.47
  context.capacity_factor = 4.0;
  CHECK(rows(*make_router("switch", "{}", context), 1024, RouterPhase::kInference) == 32);
  CHECK(rows(*make_router("switch", R"({"capacity_factor": 1})", context), 1024, RouterPhase::kInference) == 8);
  CHECK_FALSE(make_router("switch", R"({"padded": false})", context)->buffer_rows(1024, RouterPhase::kInference));
}

TEST_CASE("GShard: first choices take rows before any second one, and all count") {
  // Two rows each. First choices: 0, 0, 0, 1; second: 1, 1, 1, 0. Expert 0 is asked by tokens 0, 1, 2 first: 2 is
  // dropped. Expert 1 has token 3, then in the second pass token 0; tokens 1 and 2 find it full; token 3 finds 0 full.
  const std::vector<float> gates{0.6F, 0.4F, 0.7F, 0.3F, 0.8F, 0.2F, 0.1F, 0.9F};
  const std::vector<int> wanted(4, 2);
  RandomStream random(1, "test");
  const TopTwoResult result = gate_top_two(gates, 2, wanted, {2, SecondExpert::kAll, 0.2}, random);
  CHECK(result.tokens[0].first == 0U);
  CHECK(result.tokens[0].second == 1U);
  CHECK(result.tokens[1].first == 0U);
  CHECK_FALSE(result.tokens[1].second.has_value());
  CHECK_FALSE(result.tokens[2].first.has_value());
  CHECK_FALSE(result.tokens[2].second.has_value());
  CHECK(result.tokens[3].first == 1U);
  CHECK_FALSE(result.tokens[3].second.has_value());
  CHECK(result.choices == 8);
  CHECK(result.dropped == 4);
  CHECK(result.tokens[0].first_gate == Approx(0.6));
}

TEST_CASE("GShard: policies of the second expert") {
  constexpr std::size_t kTokens = 20000;
  std::vector<float> gates;
  for (std::size_t t = 0; t < kTokens; ++t) {
    gates.insert(gates.end(), {0.9F, 0.1F});
  }
  const std::vector<int> wanted(kTokens, 2);
  const auto share = [&](SecondExpert policy, double threshold) {
    RandomStream random(1, "test");
    const TopTwoResult result = gate_top_two(gates, 2, wanted, {kTokens, policy, threshold}, random);
    return static_cast<double>(result.choices) / kTokens - 1.0;
  };
  CHECK(share(SecondExpert::kAll, 0.2) == 1.0);
  CHECK(share(SecondExpert::kNone, 0.2) == 0.0);
  CHECK(share(SecondExpert::kThreshold, 0.05) == 1.0);
  CHECK(share(SecondExpert::kThreshold, 0.2) == 0.0);
  // min(1, 0.1/0.2) and min(1, 2·0.1); five standard errors sqrt(p(1 − p)/20,000).
  CHECK(share(SecondExpert::kRandom, 0.2) == Approx(0.5).margin(0.0177));
  CHECK(share(SecondExpert::kGshard, 0.2) == Approx(0.2).margin(0.0142));
}

TEST_CASE("GShard: a second choice that chance rejects still counts against the room, as in algorithm 1") {
  // One row. Token 0 prefers expert 1 as second with gate 0 (never used: 2·0 > U fails); token 1 wants it for sure
  // (gates 0.5 and 0.5). Under the algorithm's count token 1 comes too late.
  const std::vector<float> gates{1.0F, 0.0F, 0.5F, 0.5F};
  const std::vector<int> wanted(2, 2);
  RandomStream random(1, "test");
  const TopTwoResult result = gate_top_two(gates, 2, wanted, {1, SecondExpert::kGshard, 0.2}, random);
  CHECK_FALSE(result.tokens[1].second.has_value());
  CHECK(result.dropped == 2);  // token 1's first choice (expert 0 is full) and its second
}

TEST_CASE("GShard: the router as a literal loop over tokens") {
  constexpr std::size_t kTokens = 500;
  constexpr std::size_t kExperts = 16;
  const auto router = make_router("gshard", R"({"capacity_factor": 1.5, "second": "all"})", context_of(kExperts, 2));
  const std::size_t rows = 46;  // ⌊1.5·500/16⌋ = 46
  CHECK(router->buffer_rows(kTokens, RouterPhase::kInference) == rows);
  const std::vector<float> scores = random_scores(kTokens, kExperts, 9);
  const std::vector<float> gates = softmax_rows(scores, kExperts);
  const RoutedTokens routed = route(*router, scores, kExperts);
  std::vector<std::size_t> count(kExperts, 0);
  std::vector<ExpertIndex> expected(2 * kTokens, kNoExpert);
  std::vector<std::size_t> seconds(kTokens);
  for (std::size_t t = 0; t < kTokens; ++t) {
    const float* g = gates.data() + t * kExperts;
    const auto first = static_cast<std::size_t>(std::max_element(g, g + kExperts) - g);
    std::size_t second = first == 0 ? 1 : 0;
    for (std::size_t e = 0; e < kExperts; ++e) {
      second = e != first && g[e] > g[second] ? e : second;
    }
    seconds[t] = second;
    if (count[first]++ < rows) {
      expected[2 * t] = static_cast<ExpertIndex>(first);
      CHECK(routed.weights[2 * t] == Approx(g[first] / (g[first] + g[second])).epsilon(1e-5));
    }
  }
  for (std::size_t t = 0; t < kTokens; ++t) {
    if (count[seconds[t]]++ < rows) {
      expected[2 * t + 1] = static_cast<ExpertIndex>(seconds[t]);
    }
  }
  CHECK(routed.experts == expected);
  CHECK(routed.dropped == static_cast<std::size_t>(std::count(expected.begin(), expected.end(), kNoExpert)));
  CHECK(routed.dropped > 0);
}

TEST_CASE("NLLB: a fifth of the outputs is masked in training, and computed all the same") {
  constexpr std::size_t kTokens = 4096;
  const auto router = make_router("nllb", "{}", context_of(8, 2));
  const std::vector<float> scores = random_scores(kTokens, 8, 2);
  const RoutedTokens routed = route(*router, scores, 8, RouterPhase::kTraining);
  double served = 0.0;
  double masked = 0.0;
  for (std::size_t i = 0; i < routed.experts.size(); ++i) {
    served += routed.experts[i] != kNoExpert ? 1.0 : 0.0;
    masked += routed.experts[i] != kNoExpert && routed.weights[i] == 0.0F ? 1.0 : 0.0;
  }
  CHECK(masked / served == Approx(0.2).margin(0.025));  // five standard errors sqrt(0.16/8,000) = 0.0045
}

TEST_CASE("capacity: mesh rounds down, fairseq the even share up, DeepSpeed the rows of two choices") {
  const auto rows = [](const char* name, RouterPhase phase) {
    return make_router(name, "{}", context_of(128, 2))->buffer_rows(1000, phase);
  };
  using Rows = std::optional<std::size_t>;
  CHECK(rows("gshard", RouterPhase::kTraining) == Rows(9));      // ⌊1.25·1000/128⌋ = ⌊9.77⌋
  CHECK(rows("gshard", RouterPhase::kInference) == Rows(15));    // ⌊2·1000/128⌋ = ⌊15.625⌋
  CHECK(rows("glam", RouterPhase::kTraining) == Rows(16));       // the same, in whole fours
  CHECK(rows("nllb", RouterPhase::kTraining) == Rows(16));       // 2·⌈7.8125⌉
  CHECK(rows("arctic", RouterPhase::kInference) == Rows(16));    // ⌈1·2·1000/128⌉
  CHECK(rows("nllb", RouterPhase::kInference) == std::nullopt);  // room for all, and nothing padded
}

TEST_CASE("V-MoE: the surest tokens take rows first, all first choices before second ones") {
  constexpr std::size_t kTokens = 400;
  constexpr std::size_t kExperts = 8;
  constexpr std::size_t kK = 2;
  const auto router =
      make_router("v-moe", R"({"capacity_factor": 0.7, "training_capacity_factor": 0.7})", context_of(kExperts, kK));
  const std::size_t rows = 72;  // ⌈400·2·0.7/8⌉ = 70, up to a multiple of 4
  CHECK(router->buffer_rows(kTokens, RouterPhase::kInference) == rows);
  const auto phase = GENERATE(RouterPhase::kInference, RouterPhase::kTraining);
  std::vector<float> scores = random_scores(kTokens, kExperts, 21);
  const RoutedTokens routed = route(*router, scores, kExperts, phase);
  CHECK(routed.noise.size() == (phase == RouterPhase::kTraining ? scores.size() : 0));
  std::transform(routed.noise.begin(), routed.noise.end(), scores.begin(), scores.begin(), std::plus<>());
  const std::vector<float> gates = softmax_rows(scores, kExperts);
  std::vector<std::vector<std::size_t>> order(kTokens);
  std::vector<std::size_t> tokens(kTokens);
  std::iota(tokens.begin(), tokens.end(), std::size_t{0});
  for (std::size_t t = 0; t < kTokens; ++t) {
    order[t].resize(kExperts);
    std::iota(order[t].begin(), order[t].end(), std::size_t{0});
    std::stable_sort(order[t].begin(), order[t].end(),
                     [&](std::size_t a, std::size_t b) { return gates[t * kExperts + a] > gates[t * kExperts + b]; });
  }
  std::stable_sort(tokens.begin(), tokens.end(), [&](std::size_t a, std::size_t b) {
    return gates[a * kExperts + order[a][0]] > gates[b * kExperts + order[b][0]];
  });
  std::vector<std::size_t> used(kExperts, 0);
  std::vector<ExpertIndex> expected(kTokens * kK, kNoExpert);
  for (std::size_t slot = 0; slot < kK; ++slot) {
    for (const std::size_t t : tokens) {
      if (used[order[t][slot]] < rows) {
        ++used[order[t][slot]];
        expected[t * kK + slot] = static_cast<ExpertIndex>(order[t][slot]);
      }
    }
  }
  CHECK(routed.experts == expected);
  CHECK(routed.dropped > 0);
  // What is dropped is dropped of unsure tokens: the mean largest gate of tokens that lost their first choice is below
  // that of the others.
  double lost = 0.0;
  double kept = 0.0;
  double losers = 0.0;
  for (std::size_t t = 0; t < kTokens; ++t) {
    const double gate = gates[t * kExperts + order[t][0]];
    const bool has = routed.experts[t * kK] != kNoExpert;
    (has ? kept : lost) += gate;
    losers += has ? 0.0 : 1.0;
  }
  if (losers > 0.0) {
    CHECK(lost / losers < kept / (kTokens - losers));
  }
}

TEST_CASE("hierarchical: up to two experts in the first branch, one in the second, none elsewhere") {
  constexpr std::size_t kTokens = 600;
  constexpr std::size_t kExperts = 32;
  constexpr std::size_t kInner = 8;
  const auto router = make_router(
      "hierarchical", R"({"branches": 4, "second": "all", "capacity_factor": 8, "inner_capacity_factor": 8})",
      context_of(kExperts, 2));
  const std::vector<float> scores = random_scores(kTokens, kExperts, 33);
  const std::vector<float> gates = softmax_rows(scores, kExperts);
  const RoutedTokens routed = route(*router, scores, kExperts);
  CHECK(routed.dropped == 0);
  CHECK(routed.choices == 3 * kTokens);
  for (std::size_t t = 0; t < kTokens; ++t) {
    std::vector<double> branch(4, 0.0);
    for (std::size_t e = 0; e < kExperts; ++e) {
      branch[e / kInner] += gates[t * kExperts + e];
    }
    std::vector<std::size_t> by_branch{0, 1, 2, 3};
    std::sort(by_branch.begin(), by_branch.end(), [&](std::size_t a, std::size_t b) { return branch[a] > branch[b]; });
    const auto best_in = [&](std::size_t b) {
      std::vector<std::size_t> inside(kInner);
      std::iota(inside.begin(), inside.end(), b * kInner);
      std::sort(inside.begin(), inside.end(),
                [&](std::size_t x, std::size_t y) { return gates[t * kExperts + x] > gates[t * kExperts + y]; });
      return inside;
    };
    const auto first = best_in(by_branch[0]);
    std::vector<ExpertIndex> expected{static_cast<ExpertIndex>(first[0]), static_cast<ExpertIndex>(first[1]),
                                      static_cast<ExpertIndex>(best_in(by_branch[1])[0])};
    std::vector<ExpertIndex> found(routed.token(t).begin(), routed.token(t).end());
    std::sort(expected.begin(), expected.end());
    std::sort(found.begin(), found.end());
    REQUIRE(found == expected);
    // The gates of the two branches share 1, and inside the first branch its two experts do.
    const double sum = std::accumulate(routed.weights.begin() + static_cast<std::ptrdiff_t>(3 * t),
                                       routed.weights.begin() + static_cast<std::ptrdiff_t>(3 * t + 3), 0.0);
    CHECK(sum == Approx(1.0).epsilon(1e-4));
  }
}

TEST_CASE("DeepSeek-V2: in training a device keeps the choices of the highest affinity, and no more than its share") {
  constexpr std::size_t kTokens = 512;
  constexpr std::size_t kExperts = 32;
  constexpr std::size_t kK = 4;
  constexpr std::size_t kDevices = 4;
  const auto router =
      make_router("deepseek-v2", R"({"groups": 4, "groups_per_token": 2, "devices": 4})", context_of(kExperts, kK));
  std::vector<float> scores = random_scores(kTokens, kExperts, 77);
  for (std::size_t t = 0; t < kTokens; ++t) {
    scores[t * kExperts] += 4.0F;  // a favourite on device 0
  }
  const RoutedTokens kept = route(*router, scores, kExperts, RouterPhase::kTraining);
  const RoutedTokens all = route(*router, scores, kExperts, RouterPhase::kInference);
  CHECK(all.dropped == 0);
  CHECK(kept.wished == all.experts);
  const std::size_t rows = kTokens * kK / kDevices;
  std::vector<std::size_t> used(kDevices, 0);
  std::vector<float> weakest_kept(kDevices, 1e9F);
  std::vector<float> strongest_dropped(kDevices, 0.0F);
  for (std::size_t i = 0; i < all.experts.size(); ++i) {
    const std::size_t device = all.experts[i] / (kExperts / kDevices);
    if (kept.experts[i] == kNoExpert) {
      strongest_dropped[device] = std::max(strongest_dropped[device], all.weights[i]);
    } else {
      ++used[device];
      weakest_kept[device] = std::min(weakest_kept[device], all.weights[i]);
    }
  }
  CHECK(used[0] == rows);
  CHECK(kept.dropped > 0);
  for (std::size_t d = 0; d < kDevices; ++d) {
    CHECK(used[d] <= rows);
    CHECK(strongest_dropped[d] <= weakest_kept[d]);
  }
}
