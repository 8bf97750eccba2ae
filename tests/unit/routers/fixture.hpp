#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "sim/config/codec.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/core/random.hpp"
#include "workloads/routing/routers/registry.hpp"
#include "workloads/routing/routers/vocabulary.hpp"

namespace moesim::test {

/// Options as JSON over the router's defaults, decoded as a scenario's are.
inline std::unique_ptr<TokenRouter> make_router(const std::string& name, const std::string& options,
                                                const RouterContext& context) {
  const Document document = Document::parse("r.json", R"({")" + name + R"(": )" + options + "}");
  std::vector<Diagnostic> faults;
  RouterChoice choice;
  if (!Codec<RouterChoice>::decode(Cursor(document, faults), {}, choice)) {
    throw ConfigError(std::move(faults));
  }
  return choice.make(context);
}

inline RouterContext context_of(std::size_t experts, std::size_t k) {
  RouterContext context{.experts = experts, .k = k};
  context.place = {"r.json", ""};
  return context;
}

/// Normal logits; with `ties`, whole numbers of a few values, so that many are equal.
enum class Ties { kNone, kMany };
inline std::vector<float> random_scores(std::size_t tokens, std::size_t experts, std::uint64_t seed,
                                        Ties ties = Ties::kNone) {
  RandomStream random(seed, "test.scores");
  std::vector<float> scores(tokens * experts);
  for (float& score : scores) {
    score = ties == Ties::kMany ? static_cast<float>(random.below(4)) : static_cast<float>(2.0 * random.normal());
  }
  return scores;
}

/// Literally: e^{s − max} over its sum.
inline std::vector<float> softmax_rows(const std::vector<float>& scores, std::size_t experts) {
  std::vector<float> gates(scores);
  for (std::size_t t = 0; t < scores.size() / experts; ++t) {
    float* row = gates.data() + t * experts;
    const float largest = *std::max_element(row, row + experts);
    float sum = 0.0F;
    for (std::size_t e = 0; e < experts; ++e) {
      row[e] = std::exp(row[e] - largest);
      sum += row[e];
    }
    for (std::size_t e = 0; e < experts; ++e) {
      row[e] /= sum;
    }
  }
  return gates;
}

inline RoutedTokens route(const TokenRouter& router, const std::vector<float>& scores, std::size_t experts,
                          RouterPhase phase = RouterPhase::kInference, std::uint64_t seed = 1) {
  RouterInput input{.tokens = scores.size() / experts, .experts = experts, .scores = scores};
  input.phase = phase;
  RandomStream random(seed, "test.route");
  RoutedTokens out;
  router.route(input, random, out);
  return out;
}

}  // namespace moesim::test
