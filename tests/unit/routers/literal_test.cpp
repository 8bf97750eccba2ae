#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>

#include "tests/unit/routers/fixture.hpp"

// Routers with capacity or more than one step, as slow loops over tokens written from their definitions.

using namespace moesim;
using namespace moesim::test;

namespace {

constexpr std::size_t kLiteralTokens = 600;
constexpr float kStruckOut = -std::numeric_limits<float>::infinity();

using Floats = std::vector<float>;

Floats floats_of(const std::vector<float>& values, std::size_t width, std::size_t token) {
  const auto from = values.begin() + static_cast<std::ptrdiff_t>(token * width);
  return {from, from + static_cast<std::ptrdiff_t>(width)};
}

std::size_t largest(const Floats& row) {
  return static_cast<std::size_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

/// Which of two experts a token is sent to.
struct Sent {
  ExpertIndex first = kNoExpert;
  ExpertIndex second = kNoExpert;
};

/// When a second expert is used, and whether one that is not used takes up room.
struct Second {
  std::function<bool(float gate, RandomStream&)> used;
  bool counts_unused = false;
};

/// First experts get room in the order of tokens, then second ones; `wanted` of each token.
std::vector<Sent> send_to_two(const std::vector<Floats>& gates, const std::vector<int>& wanted, std::size_t rows,
                              const Second& rule, RandomStream& random) {
  std::vector<Sent> sent(gates.size());
  std::vector<std::size_t> asked(gates.front().size(), 0);
  for (std::size_t t = 0; t < gates.size(); ++t) {
    const std::size_t first = largest(gates[t]);
    if (asked[first]++ < rows) {
      sent[t].first = static_cast<ExpertIndex>(first);
    }
  }
  for (std::size_t t = 0; t < gates.size(); ++t) {
    if (wanted[t] < 2) {
      continue;
    }
    Floats others = gates[t];
    const float best = others[largest(others)];
    others[largest(others)] = kStruckOut;
    const std::size_t second = largest(others);
    const bool used = rule.used(others[second] / (best + others[second]), random);
    if ((used || rule.counts_unused) && asked[second]++ < rows && used) {
      sent[t].second = static_cast<ExpertIndex>(second);
    }
  }
  return sent;
}

const Second kAlways = {[](float, RandomStream&) { return true; }, false};
const Second kGshardRule = {[](float g, RandomStream& random) { return 2.0 * g > random.uniform(); }, true};
const Second kMeshRule = {[](float g, RandomStream& random) { return random.uniform() * 0.2 < g; }, false};

struct TwoCase {
  std::string name;
  std::string options;
  RouterPhase phase;
  std::size_t rows;  ///< of each of 32 experts, for 600 tokens: 18.75 were even
  Second second;
};

const std::vector<TwoCase> kTwoCases = {
    {"gshard", "{}", RouterPhase::kTraining, 23, kGshardRule},  // ⌊1.25·18.75⌋
    {"gshard", "{}", RouterPhase::kInference, 37, kGshardRule},
    {"gshard", R"({"second": "random"})", RouterPhase::kTraining, 23, kMeshRule},
    {"glam", "{}", RouterPhase::kTraining, 40, kAlways},  // ⌊2·18.75⌋ in whole fours
    {"nllb", "{}", RouterPhase::kTraining, 38, kAlways},  // 2·⌈18.75⌉
    {"nllb", "{}", RouterPhase::kInference, 600, kAlways},
    {"arctic", "{}", RouterPhase::kTraining, 38, kAlways}};  // ⌈2·18.75⌉

std::vector<Floats> gates_of(const std::vector<float>& scores, std::size_t experts) {
  const std::vector<float> all = softmax_rows(scores, experts);
  std::vector<Floats> gates;
  for (std::size_t t = 0; t < scores.size() / experts; ++t) {
    gates.push_back(floats_of(all, experts, t));
  }
  return gates;
}

}  // namespace

TEST_CASE("literal: top-2 gates with capacity") {
  constexpr std::size_t kExperts = 32;
  for (const TwoCase& c : kTwoCases) {
    CAPTURE(c.name, c.options, c.phase == RouterPhase::kTraining);
    const auto router = make_router(c.name, c.options, context_of(kExperts, 2));
    const std::vector<float> scores = random_scores(kLiteralTokens, kExperts, 51);
    const RoutedTokens routed = route(*router, scores, kExperts, c.phase);
    RandomStream random(1, "test.route");
    const std::vector<int> wanted(kLiteralTokens, 2);
    const auto expected = send_to_two(gates_of(scores, kExperts), wanted, c.rows, c.second, random);
    for (std::size_t t = 0; t < kLiteralTokens; ++t) {
      REQUIRE(routed.token(t)[0] == expected[t].first);
      REQUIRE(routed.token(t)[1] == expected[t].second);
    }
    CHECK((routed.dropped > 0) == (c.rows < kLiteralTokens));
  }
}

TEST_CASE("literal: Switch") {
  constexpr std::size_t kExperts = 32;
  const auto router = make_router("switch", "{}", context_of(kExperts, 1));
  const std::vector<float> scores = random_scores(kLiteralTokens, kExperts, 52);
  const std::vector<Floats> gates = gates_of(scores, kExperts);
  const RoutedTokens routed = route(*router, scores, kExperts, RouterPhase::kTraining);
  std::vector<std::size_t> asked(kExperts, 0);
  for (std::size_t t = 0; t < kLiteralTokens; ++t) {
    const std::size_t expert = largest(gates[t]);
    const bool fits = asked[expert]++ < 23;  // round(1.25·18.75) = round(23.4)
    REQUIRE(routed.experts[t] == (fits ? expert : std::size_t{kNoExpert}));
    REQUIRE(routed.weights[t] == Approx(fits ? gates[t][expert] : 0.0F).epsilon(1e-5));
  }
  CHECK(routed.dropped > 0);
}

TEST_CASE("literal: two levels with capacity at both") {
  // 32 experts in 4 branches of 8. Of 600 tokens in training, ⌊1.25·600/4⌋ = 187 fit a branch and ⌊187/8⌋ = 23 an
  // expert of it. First branches bring up to two experts, second ones one; both second choices as mesh-tensorflow.
  constexpr std::size_t kBranches = 4;
  constexpr std::size_t kInner = 8;
  const auto router = make_router("hierarchical", R"({"branches": 4})", context_of(kBranches * kInner, 2));
  const std::vector<float> scores = random_scores(kLiteralTokens, kBranches * kInner, 53);
  const std::vector<Floats> gates = gates_of(scores, kBranches * kInner);
  const RoutedTokens routed = route(*router, scores, kBranches * kInner, RouterPhase::kTraining);
  RandomStream random(1, "test.route");
  std::vector<Floats> outer(kLiteralTokens, Floats(kBranches, 0.0F));
  for (std::size_t t = 0; t < kLiteralTokens; ++t) {
    for (std::size_t e = 0; e < kBranches * kInner; ++e) {
      outer[t][e / kInner] += gates[t][e];
    }
  }
  const auto branches = send_to_two(outer, std::vector<int>(kLiteralTokens, 2), 187, kMeshRule, random);
  std::vector<std::vector<ExpertIndex>> expected(kLiteralTokens);
  for (std::size_t b = 0; b < kBranches; ++b) {
    std::vector<std::size_t> tokens;
    std::vector<int> wanted;
    for (const int most : {2, 1}) {
      for (std::size_t t = 0; t < kLiteralTokens; ++t) {
        if ((most == 2 ? branches[t].first : branches[t].second) == b) {
          tokens.push_back(t);
          wanted.push_back(most);
        }
      }
    }
    std::vector<Floats> inside;
    for (const std::size_t t : tokens) {
      inside.emplace_back(gates[t].begin() + static_cast<std::ptrdiff_t>(b * kInner),
                          gates[t].begin() + static_cast<std::ptrdiff_t>((b + 1) * kInner));
    }
    const auto sent = send_to_two(inside, wanted, 23, kMeshRule, random);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      for (const ExpertIndex e : {sent[i].first, sent[i].second}) {
        if (e != kNoExpert) {
          expected[tokens[i]].push_back(static_cast<ExpertIndex>(b * kInner + e));
        }
      }
    }
  }
  for (std::size_t t = 0; t < kLiteralTokens; ++t) {
    std::vector<ExpertIndex> found(routed.token(t).begin(), routed.token(t).end());
    found.erase(std::remove(found.begin(), found.end(), kNoExpert), found.end());
    std::sort(found.begin(), found.end());
    std::sort(expected[t].begin(), expected[t].end());
    REQUIRE(found == expected[t]);
  }
  CHECK(routed.dropped > 0);
}

TEST_CASE("literal: SparseMixer") {
  // transformers, modeling_phimoe: out of the race where (max − s)/max(|s|, max) > 2·jitter, max that of who is left.
  constexpr std::size_t kExperts = 16;
  constexpr float kJitter = 0.2F;
  const auto router = make_router("sparsemixer", R"({"jitter": 0.2})", context_of(kExperts, 2));
  const auto phase = GENERATE(RouterPhase::kInference, RouterPhase::kTraining);
  const std::vector<float> scores = random_scores(kLiteralTokens, kExperts, 54);
  const RoutedTokens routed = route(*router, scores, kExperts, phase);
  std::size_t surprises = 0;
  for (std::size_t t = 0; t < kLiteralTokens; ++t) {
    Floats left = floats_of(scores, kExperts, t);
    for (std::size_t slot = 0; slot < 2; ++slot) {
      const float best = left[largest(left)];
      Floats racing = left;
      for (float& s : racing) {
        s = (best - s) / std::max(std::abs(s), best) > 2.0F * kJitter ? kStruckOut : s;
      }
      const ExpertIndex chosen = routed.token(t)[slot];
      REQUIRE(racing[chosen] > kStruckOut);  // drawn from the race in training, its winner at inference
      surprises += chosen != largest(left) ? 1 : 0;
      REQUIRE(routed.weights[2 * t + slot] == Approx(softmax_rows(racing, kExperts)[chosen]).epsilon(1e-4));
      left[chosen] = kStruckOut;
    }
  }
  CHECK((surprises > 0) == (phase == RouterPhase::kTraining));
}

TEST_CASE("literal: a routing network without tasks applies the best of blocks and PASS at each step") {
  constexpr std::size_t kExperts = 6;
  const auto router =
      make_router("routing-network", R"({"depth": 2, "task_spread": 0, "pass_logit": 2})", context_of(kExperts, 1));
  const std::vector<float> scores = random_scores(kLiteralTokens, kExperts, 55);
  const RoutedTokens routed = route(*router, scores, kExperts);
  for (std::size_t t = 0; t < kLiteralTokens; ++t) {
    const Floats row = floats_of(scores, kExperts, t);
    const std::size_t block = row[largest(row)] > 2.0F ? largest(row) : std::size_t{kNoExpert};
    REQUIRE(routed.token(t)[0] == block);
    REQUIRE(routed.token(t)[1] == block);
  }
}
