#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "tests/unit/routers/fixture.hpp"
#include "workloads/routing/drawn_source.hpp"

// Each gate against a literal writing of its definition: softmax and sigmoid in double, sorting instead of selection.

using namespace moesim;
using namespace moesim::test;

namespace {

constexpr std::size_t kReferenceTokens = 300;

using Row = std::vector<double>;

Row row_of(const std::vector<float>& scores, std::size_t experts, std::size_t token) {
  const auto from = scores.begin() + static_cast<std::ptrdiff_t>(token * experts);
  return {from, from + static_cast<std::ptrdiff_t>(experts)};
}

Row softmax_of(Row row) {
  const double largest = *std::max_element(row.begin(), row.end());
  double sum = 0.0;
  for (double& value : row) {
    value = std::exp(value - largest);
    sum += value;
  }
  for (double& value : row) {
    value /= sum;
  }
  return row;
}

Row sigmoid_of(Row row) {
  for (double& value : row) {
    value = 1.0 / (1.0 + std::exp(-value));
  }
  return row;
}

std::vector<std::size_t> best(const Row& row, std::size_t k) {
  std::vector<std::size_t> order(row.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return row[a] > row[b]; });
  order.resize(k);
  return order;
}

/// Strikes out all but the best blocks; a block is worth the sum of its `of` best.
Row in_best_blocks(Row row, std::size_t blocks, std::size_t kept, std::size_t of) {
  const std::size_t size = row.size() / blocks;
  Row worth;
  for (std::size_t b = 0; b < blocks; ++b) {
    Row block(row.begin() + static_cast<std::ptrdiff_t>(b * size),
              row.begin() + static_cast<std::ptrdiff_t>((b + 1) * size));
    std::sort(block.rbegin(), block.rend());
    worth.push_back(std::accumulate(block.begin(), block.begin() + static_cast<std::ptrdiff_t>(of), 0.0));
  }
  const auto chosen = best(worth, kept);
  for (std::size_t e = 0; e < row.size(); ++e) {
    if (std::find(chosen.begin(), chosen.end(), e / size) == chosen.end()) {
      row[e] = -1e30;
    }
  }
  return row;
}

void normalise_to(Row& weights, double sum) {
  const double all = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& weight : weights) {
    weight *= sum / all;
  }
}

struct Gate {
  std::vector<std::size_t> experts;
  Row weights;
};

Gate weighed(const std::vector<std::size_t>& experts, const Row& by) {
  Gate gate{experts, {}};
  for (const std::size_t e : experts) {
    gate.weights.push_back(by[e]);
  }
  return gate;
}

using Reference = Gate (*)(const Row& logits);

/// What a model's own code does, for as many experts as it has.
struct Case {
  std::string name;
  std::size_t experts;
  std::size_t k;
  Reference reference;
  std::string options = "{}";
};

const std::vector<Case> kCases = {
    {"softmax-top-k", 64, 6, [](const Row& s) { return weighed(best(s, 6), softmax_of(s)); }},
    {"top-k-softmax", 32, 3,
     [](const Row& s) {
       Gate gate = weighed(best(s, 3), s);
       gate.weights = softmax_of(gate.weights);
       return gate;
     }},
    {"sigmoid-top-k", 32, 3, [](const Row& s) { return weighed(best(s, 3), sigmoid_of(s)); }},
    {"sigmoid-bias-top-k", 64, 6,
     [](const Row& s) {
       const Row p = sigmoid_of(s);
       Gate gate = weighed(best(in_best_blocks(p, 4, 2, 2), 6), p);
       normalise_to(gate.weights, 1.0);
       return gate;
     },
     R"({"groups": 4, "groups_per_token": 2})"},
    {"group-limited-top-k", 64, 6,
     [](const Row& s) {
       const Row p = softmax_of(s);
       return weighed(best(in_best_blocks(p, 4, 2, 1), 6), p);
     },
     R"({"groups": 4, "groups_per_token": 2})"},
    {"qwen2-moe", 60, 4, [](const Row& s) { return weighed(best(s, 4), softmax_of(s)); }},
    {"olmoe", 64, 8, [](const Row& s) { return weighed(best(s, 8), softmax_of(s)); }},
    {"qwen3-moe", 128, 8,
     [](const Row& s) {
       Gate gate = weighed(best(s, 8), softmax_of(s));
       normalise_to(gate.weights, 1.0);
       return gate;
     }},
    {"dbrx", 16, 4,
     [](const Row& s) {
       Gate gate = weighed(best(s, 4), softmax_of(s));
       normalise_to(gate.weights, 1.0);
       return gate;
     }},
    {"mixtral", 8, 2,
     [](const Row& s) {
       Gate gate = weighed(best(s, 2), s);
       gate.weights = softmax_of(gate.weights);
       return gate;
     }},
    {"gpt-oss", 128, 4,
     [](const Row& s) {
       Gate gate = weighed(best(s, 4), s);
       gate.weights = softmax_of(gate.weights);
       return gate;
     }},
    {"llama-4", 128, 1, [](const Row& s) { return weighed(best(s, 1), sigmoid_of(s)); }},
    {"deepseek-v2", 160, 6,
     [](const Row& s) {
       const Row p = softmax_of(s);
       Gate gate = weighed(best(in_best_blocks(p, 8, 3, 1), 6), p);
       for (double& weight : gate.weights) {
         weight *= 16.0;
       }
       return gate;
     }},
    {"deepseek-v3", 256, 8,
     [](const Row& s) {
       const Row p = sigmoid_of(s);
       Gate gate = weighed(best(in_best_blocks(p, 8, 4, 2), 8), p);
       normalise_to(gate.weights, 2.5);
       return gate;
     }},
    {"kimi-k2", 384, 8,
     [](const Row& s) {
       Gate gate = weighed(best(s, 8), sigmoid_of(s));
       normalise_to(gate.weights, 2.827);
       return gate;
     }},
    {"glm-4.5", 160, 8,
     [](const Row& s) {
       Gate gate = weighed(best(s, 8), sigmoid_of(s));
       normalise_to(gate.weights, 2.5);
       return gate;
     }},
    {"soft", 24, 24,
     [](const Row& s) {
       std::vector<std::size_t> all(s.size());
       std::iota(all.begin(), all.end(), std::size_t{0});
       return weighed(all, softmax_of(s));
     }},
    {"noisy-top-k", 64, 4, [](const Row& s) {
       Gate gate = weighed(best(s, 4), s);
       gate.weights = softmax_of(gate.weights);
       return gate;
     }}};

}  // namespace

TEST_CASE("routers: gates of models choose and weigh as their definitions say") {
  for (const Case& c : kCases) {
    CAPTURE(c.name);
    const auto router = make_router(c.name, c.options, context_of(c.experts, c.k));
    const std::vector<float> scores = random_scores(kReferenceTokens, c.experts, 17 + c.experts);
    const RoutedTokens routed = route(*router, scores, c.experts);
    REQUIRE(routed.slots == c.k);
    CHECK(routed.choices == kReferenceTokens * c.k);
    CHECK(routed.dropped == 0);
    for (std::size_t t = 0; t < kReferenceTokens; ++t) {
      const Gate expected = c.reference(row_of(scores, c.experts, t));
      for (std::size_t i = 0; i < c.k; ++i) {
        REQUIRE(routed.token(t)[i] == expected.experts[i]);
        REQUIRE(routed.weights[t * c.k + i] == Approx(expected.weights[i]).epsilon(1e-5));
      }
    }
  }
}

TEST_CASE("routers: the selection bias chooses, and stays out of the weights") {
  constexpr std::size_t kExperts = 256;
  const auto router = make_router("deepseek-v3", "{}", context_of(kExperts, 8));
  const std::vector<float> scores = random_scores(kReferenceTokens, kExperts, 5);
  std::vector<float> bias(kExperts);
  RandomStream random(8, "test.bias");
  for (float& b : bias) {
    b = static_cast<float>(0.3 * random.normal());
  }
  RouterInput input{.tokens = kReferenceTokens, .experts = kExperts, .scores = scores};
  input.bias = bias;
  RoutedTokens routed;
  router->route(input, random, routed);
  for (std::size_t t = 0; t < kReferenceTokens; ++t) {
    const Row p = sigmoid_of(row_of(scores, kExperts, t));
    Row biased = p;
    for (std::size_t e = 0; e < kExperts; ++e) {
      biased[e] += bias[e];
    }
    Gate expected = weighed(best(in_best_blocks(biased, 8, 4, 2), 8), p);
    normalise_to(expected.weights, 2.5);
    for (std::size_t i = 0; i < 8; ++i) {
      REQUIRE(routed.token(t)[i] == expected.experts[i]);
      REQUIRE(routed.weights[t * 8 + i] == Approx(expected.weights[i]).epsilon(1e-5));
    }
  }
}

TEST_CASE("routers: SparseMixer masks distant rivals before its softmax, then takes the second expert likewise") {
  const auto router = make_router("sparsemixer", R"({"jitter": 0.1})", context_of(4, 2));
  // Best 10; within 2·0.1·10 = 2 of it: 9. So weight 1/(1 + e^−1). Then best 9; within 1.8 of it: 7.5.
  const RoutedTokens routed = route(*router, {10.0F, 9.0F, 7.5F, 1.0F}, 4);
  CHECK(routed.experts == std::vector<ExpertIndex>{0, 1});
  CHECK(routed.weights[0] == Approx(1.0 / (1.0 + std::exp(-1.0))).epsilon(1e-5));
  CHECK(routed.weights[1] == Approx(1.0 / (1.0 + std::exp(-1.5))).epsilon(1e-5));
  // Nobody within reach: certainty.
  const RoutedTokens sure = route(*router, {10.0F, 7.0F, 5.0F, 1.0F}, 4);
  CHECK(sure.weights == std::vector<float>{1.0F, 1.0F});
}

TEST_CASE("routers: routing networks pick one block or PASS at each step, by task") {
  RouterContext context = context_of(5, 1);
  // Without what tasks add, every step picks the best of blocks and PASS.
  const auto plain = make_router("routing-network", R"({"depth": 3, "task_spread": 0, "pass_logit": 1.5})", context);
  const RoutedTokens routed = route(*plain, {0.0F, 2.0F, 1.0F, 0.0F, 0.0F, 1.0F, 0.0F, 0.0F, 0.0F, 0.0F}, 5);
  CHECK(routed.experts == std::vector<ExpertIndex>{1, 1, 1, kNoExpert, kNoExpert, kNoExpert});
  CHECK(routed.choices == 3);
  // With it, the same scores go different ways for different tasks, and the same way for the same task.
  const auto tasks = make_router("routing-network", R"({"depth": 4, "task_spread": 3})", context);
  const std::vector<float> scores(5 * 40, 0.0F);
  std::vector<std::uint32_t> task(40);
  for (std::uint32_t t = 0; t < 40; ++t) {
    task[t] = t % 20;
  }
  RouterInput input{.tokens = 40, .experts = 5, .scores = scores};
  input.tasks = task;
  RandomStream random(1, "test");
  RoutedTokens by_task;
  tasks->route(input, random, by_task);
  std::set<std::vector<ExpertIndex>> paths;
  for (std::size_t t = 0; t < 20; ++t) {
    const auto one = by_task.token(t);
    const auto other = by_task.token(t + 20);
    CHECK(std::equal(one.begin(), one.end(), other.begin()));
    paths.insert({one.begin(), one.end()});
  }
  CHECK(paths.size() > 10);  // of 6^4 paths, 20 draws that were all but equal would be a wonder
}

TEST_CASE("routers: drawn policies follow the softmax over blocks and PASS") {
  // Logits 0, 1, 2 and PASS 0: probabilities e^0, e^1, e^2, e^0 over their sum.
  const auto router =
      make_router("routing-network", R"({"depth": 1, "task_spread": 0, "policy": "sampled"})", context_of(3, 1));
  constexpr std::size_t kDraws = 20000;
  std::vector<float> scores;
  for (std::size_t t = 0; t < kDraws; ++t) {
    scores.insert(scores.end(), {0.0F, 1.0F, 2.0F});
  }
  const RoutedTokens routed = route(*router, scores, 3);
  std::map<ExpertIndex, double> share;
  for (const ExpertIndex e : routed.experts) {
    share[e] += 1.0 / kDraws;
  }
  const double sum = 2.0 + std::exp(1.0) + std::exp(2.0);
  // Standard error sqrt(p(1 − p)/20,000) ≤ 0.0035; five of them.
  CHECK(share[0] == Approx(1.0 / sum).margin(0.0177));
  CHECK(share[1] == Approx(std::exp(1.0) / sum).margin(0.0177));
  CHECK(share[2] == Approx(std::exp(2.0) / sum).margin(0.0177));
  CHECK(share[kNoExpert] == Approx(1.0 / sum).margin(0.0177));
}

TEST_CASE("routers: noise in training has the stated deviation, and the choice follows the noisy logits") {
  // noise_logit 0: softplus(0) + 0.01 = ln 2 + 0.01.
  constexpr std::size_t kExperts = 16;
  const auto router = make_router("noisy-top-k", "{}", context_of(kExperts, 3));
  CHECK(router->noise_deviation() == Approx(std::log(2.0) + 0.01));
  const std::vector<float> scores = random_scores(2000, kExperts, 4);
  const RoutedTokens routed = route(*router, scores, kExperts, RouterPhase::kTraining);
  REQUIRE(routed.noise.size() == scores.size());
  double square = 0.0;
  for (const float noise : routed.noise) {
    square += noise * noise / static_cast<double>(scores.size());
  }
  // Of 32,000 samples; relative standard error of a variance sqrt(2/n) = 0.8 %: five of them.
  CHECK(std::sqrt(square) == Approx(router->noise_deviation()).epsilon(0.02));
  for (std::size_t t = 0; t < 2000; ++t) {
    Row noisy = row_of(scores, kExperts, t);
    for (std::size_t e = 0; e < kExperts; ++e) {
      noisy[e] += routed.noise[t * kExperts + e];
    }
    const auto expected = best(noisy, 3);
    REQUIRE(std::equal(expected.begin(), expected.end(), routed.token(t).begin()));
  }
}

TEST_CASE("routers: uniform and power law draw with the stated probabilities, whatever the scores") {
  constexpr std::size_t kExperts = 32;
  constexpr std::size_t kDraws = 20000;
  constexpr std::size_t kK = 4;
  const std::vector<float> scores = random_scores(kDraws, kExperts, 3);
  const auto shares = [&](const std::string& name, const std::string& options) {
    const RoutedTokens routed = route(*make_router(name, options, context_of(kExperts, kK)), scores, kExperts);
    std::vector<double> share(kExperts, 0.0);
    for (const ExpertIndex e : routed.experts) {
      share[e] += 1.0 / kDraws;
    }
    return share;
  };
  // Five standard errors sqrt(p(1 − p)/20,000) ≤ 0.0177 of inclusion probabilities that add up to k.
  for (const double share : shares("uniform", "{}")) {
    CHECK(share == Approx(static_cast<double>(kK) / kExperts).margin(0.0117));  // p = 1/8
  }
  RandomStream random(1, "router.power-law", 0);
  const std::vector<double> inclusion = inclusion_from_loads(power_law_loads(1.2, 1.0, 100.0, kExperts, random), kK);
  const std::vector<double> drawn = shares("power-law", R"({"alpha": 1.2, "largest": 100})");
  for (std::size_t e = 0; e < kExperts; ++e) {
    CHECK(drawn[e] == Approx(inclusion[e]).margin(0.0177));
  }
}
