#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "tests/unit/routers/fixture.hpp"
#include "workloads/routing/routers/auction.hpp"

// Routers that assign tokens together: BASE, Sinkhorn, expert choice; and hash, which does not look at scores at all.

using namespace moesim;
using namespace moesim::test;

namespace {

/// The best sum over all assignments with these quotas.
double best_sum(const std::vector<float>& scores, std::size_t experts, std::vector<std::size_t> quota,
                std::size_t token) {
  if (token * experts == scores.size()) {
    return 0.0;
  }
  double best = -1e30;
  for (std::size_t e = 0; e < experts; ++e) {
    if (quota[e] > 0) {
      --quota[e];
      best = std::max(best, scores[token * experts + e] + best_sum(scores, experts, quota, token + 1));
      ++quota[e];
    }
  }
  return best;
}

double sum_of(const std::vector<float>& scores, std::size_t experts, const std::vector<std::size_t>& assigned) {
  double sum = 0.0;
  for (std::size_t t = 0; t < assigned.size(); ++t) {
    sum += scores[t * experts + assigned[t]];
  }
  return sum;
}

std::vector<std::size_t> counts_of(const RoutedTokens& routed, std::size_t experts) {
  std::vector<std::size_t> counts(experts, 0);
  for (const ExpertIndex e : routed.experts) {
    counts[e] += 1;
  }
  return counts;
}

}  // namespace

TEST_CASE("auction: quotas are met and the sum is within tokens times epsilon of the best") {
  constexpr double kEpsilon = 0.01;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    CAPTURE(seed);
    const std::vector<float> scores = random_scores(9, 3, seed, seed % 4 == 0 ? Ties::kMany : Ties::kNone);
    const std::vector<std::size_t> quota{3, 2 + seed % 3, 4 - seed % 3};
    const auto assigned = auction_assignment(scores, 3, quota, kEpsilon);
    for (std::size_t e = 0; e < 3; ++e) {
      CHECK(static_cast<std::size_t>(std::count(assigned.begin(), assigned.end(), e)) == quota[e]);
    }
    const double best = best_sum(scores, 3, quota, 0);
    const double found = sum_of(scores, 3, assigned);
    CHECK(found <= best + 1e-5);
    CHECK(found >= best - 9 * kEpsilon - 1e-5);
  }
}

TEST_CASE("auction: one expert, experts without places") {
  CHECK(auction_assignment(std::vector<float>{1.0F, 2.0F}, 1, std::vector<std::size_t>{2}, 0.1) ==
        std::vector<std::size_t>{0, 0});
  // Expert 0 is everybody's favourite and has no place.
  CHECK(auction_assignment(std::vector<float>{9.0F, 0.0F, 1.0F, 9.0F, 1.0F, 0.0F}, 3, std::vector<std::size_t>{0, 1, 1},
                           0.1) == std::vector<std::size_t>{2, 1});
}

TEST_CASE("BASE: exactly T/E tokens each in training, the best expert at inference") {
  constexpr std::size_t kExperts = 16;
  const auto router = make_router("base", "{}", context_of(kExperts, 1));
  for (const std::size_t tokens : {std::size_t{640}, std::size_t{645}}) {
    std::vector<float> scores = random_scores(tokens, kExperts, tokens);
    for (std::size_t t = 0; t < tokens; ++t) {
      scores[t * kExperts + 3] += 3.0F;  // a favourite
    }
    CHECK(router->group_tokens(tokens) == tokens);
    const auto counts = counts_of(route(*router, scores, kExperts, RouterPhase::kTraining), kExperts);
    for (std::size_t e = 0; e < kExperts; ++e) {
      CHECK(counts[e] == tokens / kExperts + (e < tokens % kExperts ? 1 : 0));
    }
    const RoutedTokens greedy = route(*router, scores, kExperts);
    for (std::size_t t = 0; t < tokens; ++t) {
      const float* row = scores.data() + t * kExperts;
      REQUIRE(greedy.experts[t] == std::max_element(row, row + kExperts) - row);
      REQUIRE(greedy.weights[t] == Approx(1.0 / (1.0 + std::exp(-row[greedy.experts[t]]))).epsilon(1e-5));
    }
    CHECK(counts_of(greedy, kExperts)[3] > 2 * tokens / kExperts);
  }
}

TEST_CASE("Sinkhorn: as Megatron's loop, and nearly balanced") {
  constexpr std::size_t kTokens = 512;
  constexpr std::size_t kExperts = 8;
  const auto router = make_router("sinkhorn", "{}", context_of(kExperts, 1));
  std::vector<float> scores = random_scores(kTokens, kExperts, 6);
  for (std::size_t t = 0; t < kTokens; ++t) {
    scores[t * kExperts + 2] += 2.0F;
  }
  // The literal loop: d0 and d1 in turn, then the argmax of d1·cost·d0.
  std::vector<double> cost(scores.begin(), scores.end());
  for (double& c : cost) {
    c = std::exp(c);
  }
  std::vector<double> d0(kTokens, 1.0);
  std::vector<double> d1(kExperts, 1.0);
  double change = 1.0;
  while (change > 1e-4) {
    for (std::size_t t = 0; t < kTokens; ++t) {
      double sum = 0.0;
      for (std::size_t e = 0; e < kExperts; ++e) {
        sum += d1[e] * cost[t * kExperts + e];
      }
      d0[t] = 1.0 / (kTokens * (sum + 1e-8));
    }
    change = 0.0;
    for (std::size_t e = 0; e < kExperts; ++e) {
      double sum = 0.0;
      for (std::size_t t = 0; t < kTokens; ++t) {
        sum += d0[t] * cost[t * kExperts + e];
      }
      const double next = 1.0 / (kExperts * (sum + 1e-8));
      change += std::abs(next - d1[e]) / kExperts;
      d1[e] = next;
    }
  }
  const RoutedTokens routed = route(*router, scores, kExperts, RouterPhase::kTraining);
  for (std::size_t t = 0; t < kTokens; ++t) {
    std::size_t expected = 0;
    for (std::size_t e = 0; e < kExperts; ++e) {
      const double value = d1[e] * cost[t * kExperts + e] * d0[t];
      expected = value > d1[expected] * cost[t * kExperts + expected] * d0[t] ? e : expected;
    }
    REQUIRE(routed.experts[t] == expected);
  }
  // Columns of the scaled matrix have equal sums; its argmax is nearly balanced, the raw one is not.
  const auto balanced = counts_of(routed, kExperts);
  const auto raw = counts_of(route(*router, scores, kExperts), kExperts);
  CHECK(*std::max_element(balanced.begin(), balanced.end()) < 13 * kTokens / kExperts / 10);
  CHECK(*std::max_element(raw.begin(), raw.end()) > 2 * kTokens / kExperts);
}

TEST_CASE("expert choice: each expert has its C best tokens of the group") {
  constexpr std::size_t kTokens = 200;
  constexpr std::size_t kExperts = 16;
  constexpr std::size_t kRows = 25;  // ⌊2·200/16⌋
  const auto router = make_router("expert-choice", "{}", context_of(kExperts, 2));
  const std::vector<float> scores = random_scores(kTokens, kExperts, 12);
  const RoutedTokens routed = route(*router, scores, kExperts);
  CHECK(routed.choices == kRows * kExperts);
  std::vector<double> log_sum(kTokens, 0.0);
  for (std::size_t t = 0; t < kTokens; ++t) {
    for (std::size_t e = 0; e < kExperts; ++e) {
      log_sum[t] += std::exp(static_cast<double>(scores[t * kExperts + e]));
    }
    log_sum[t] = std::log(log_sum[t]);
  }
  std::size_t most = 0;
  for (std::size_t e = 0; e < kExperts; ++e) {
    std::vector<std::size_t> order(kTokens);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return scores[a * kExperts + e] - log_sum[a] > scores[b * kExperts + e] - log_sum[b];
    });
    for (std::size_t place = 0; place < kTokens; ++place) {
      const auto chosen = routed.token(order[place]);
      const bool has = std::find(chosen.begin(), chosen.end(), e) != chosen.end();
      REQUIRE(has == (place < kRows));
    }
  }
  for (std::size_t t = 0; t < kTokens; ++t) {
    const auto chosen = routed.token(t);
    const auto filled = static_cast<std::size_t>(
        std::count_if(chosen.begin(), chosen.end(), [](ExpertIndex e) { return e != kNoExpert; }));
    most = std::max(most, filled);
  }
  CHECK(routed.slots == most);
}

TEST_CASE("hash: a function of the token id; balanced by frequency; clusters by meaning") {
  constexpr std::size_t kExperts = 8;
  const Vocabulary vocabulary({.words = 1000, .width = 4, .zipf = 1.0, .topics = 1, .topic_share = 0.0}, 3);
  RouterContext context = context_of(kExperts, 1);
  context.vocabulary = &vocabulary;
  std::vector<std::uint32_t> ids(3000);
  RandomStream random(5, "test.ids");
  for (std::uint32_t& id : ids) {
    id = static_cast<std::uint32_t>(random.below(1000));
  }
  const std::vector<float> scores = random_scores(ids.size(), kExperts, 1);
  std::map<std::string, std::vector<double>> loads;
  for (const std::string table : {"random", "balanced", "clustered"}) {
    const auto router = make_router("hash", R"({"table": ")" + table + R"("})", context);
    RouterInput input{.tokens = ids.size(), .experts = kExperts, .scores = scores};
    input.token_ids = ids;
    RoutedTokens routed;
    router->route(input, random, routed);
    std::map<std::uint32_t, ExpertIndex> expert_of;
    for (std::size_t t = 0; t < ids.size(); ++t) {
      const auto [entry, fresh] = expert_of.emplace(ids[t], routed.experts[t]);
      REQUIRE(entry->second == routed.experts[t]);
    }
    // All words once: loads by frequency.
    std::vector<std::uint32_t> all(1000);
    std::iota(all.begin(), all.end(), 0U);
    const std::vector<float> none(all.size() * kExperts, 0.0F);
    input = {.tokens = all.size(), .experts = kExperts, .scores = none};
    input.token_ids = all;
    router->route(input, random, routed);
    loads[table].assign(kExperts, 0.0);
    for (std::size_t id = 0; id < all.size(); ++id) {
      loads[table][routed.experts[id]] += vocabulary.frequency(id);
    }
  }
  // The most frequent word alone is 1/H(1000) = 0.1336 of the text, more than an eighth, so the best that any table can
  // do is to give it an expert to itself and 1/7 of the rest to each of the others: 0.1238.
  double harmonic = 0.0;
  for (int r = 1; r <= 1000; ++r) {
    harmonic += 1.0 / r;
  }
  std::vector<double>& balanced = loads["balanced"];
  std::sort(balanced.begin(), balanced.end());
  CHECK(balanced.back() == Approx(1.0 / harmonic));
  CHECK(balanced.front() == Approx((1.0 - 1.0 / harmonic) / 7.0).epsilon(0.01));
  CHECK(*std::max_element(loads["random"].begin(), loads["random"].end()) > balanced.back());
}

TEST_CASE("hash: clustered words are nearer to their own cluster's mean than to any other's") {
  constexpr std::size_t kExperts = 4;
  const Vocabulary vocabulary({.words = 400, .width = 2, .zipf = 1.0, .topics = 1, .topic_share = 0.0}, 9);
  RouterContext context = context_of(kExperts, 1);
  context.vocabulary = &vocabulary;
  const auto router = make_router("hash", R"({"table": "clustered"})", context);
  std::vector<std::uint32_t> ids(400);
  std::iota(ids.begin(), ids.end(), 0U);
  const std::vector<float> scores(ids.size() * kExperts, 0.0F);
  RouterInput input{.tokens = ids.size(), .experts = kExperts, .scores = scores};
  input.token_ids = ids;
  RandomStream random(1, "test");
  RoutedTokens routed;
  router->route(input, random, routed);
  std::vector<double> mean(2 * kExperts, 0.0);
  std::vector<double> count(kExperts, 0.0);
  for (std::size_t id = 0; id < 400; ++id) {
    count[routed.experts[id]] += 1.0;
    mean[2 * routed.experts[id]] += vocabulary.embedding(id)[0];
    mean[2 * routed.experts[id] + 1] += vocabulary.embedding(id)[1];
  }
  std::size_t strays = 0;
  for (std::size_t id = 0; id < 400; ++id) {
    const auto distance = [&](std::size_t e) {
      return std::hypot(vocabulary.embedding(id)[0] - mean[2 * e] / count[e],
                        vocabulary.embedding(id)[1] - mean[2 * e + 1] / count[e]);
    };
    for (std::size_t e = 0; e < kExperts; ++e) {
      strays += distance(e) < distance(routed.experts[id]) ? 1 : 0;
    }
  }
  CHECK(strays < 20);  // ten rounds of Lloyd's algorithm leave a few words at the borders
}

TEST_CASE("hash: needs to know the tokens") {
  CHECK_THROWS_WITH(make_router("hash", "{}", context_of(8, 1)),
                    "r.json: expected tokens whose ids are known, which hash routing goes by; found scores alone");
}
