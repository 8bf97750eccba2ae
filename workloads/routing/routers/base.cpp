#include <algorithm>
#include <cmath>

#include "workloads/routing/routers/auction.hpp"
#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/entry.hpp"
#include "workloads/routing/routers/gate.hpp"

namespace moesim {

namespace {

struct BaseOptions {
  std::optional<std::size_t> group_tokens = std::nullopt;
  std::optional<RouterPhase> assignment = std::nullopt;

  template <class F>
  static void describe(F& f) {
    f.optional("group_tokens", &BaseOptions::group_tokens, "Tokens assigned together; absent: the whole batch",
               Rules::between(2, 1 << 24));
    f.optional("assignment", &BaseOptions::assignment,
               "training: balanced, inference: the best expert; absent: as the phase is");
  }
};

/// Training: T/E tokens for each expert (the first T mod E have one more), the sum of scores nearly the largest, with
/// fairseq's ε = max((max − min)/50, 1e-4). fairseq lets experts bid for tokens; here tokens bid for places, which
/// meets the quota exactly and comes with a bound. Inference: the best expert. The output is α·expert(x) + (1 − α)·x,
/// α = sigmoid(score).
class BaseRouter final : public TokenRouter {
 public:
  BaseRouter(const BaseOptions& options, const RouterContext&) : options_(options) {}

  [[nodiscard]] std::size_t group_tokens(std::size_t batch) const override {
    return options_.group_tokens.value_or(std::max<std::size_t>(batch, 1));
  }
  [[nodiscard]] ScoreFunction score_function() const override { return ScoreFunction::kSigmoid; }

  void route(const RouterInput& input, RandomStream&, RoutedTokens& out) const override {
    out.reset(input, 1);
    out.choices = input.tokens;
    std::vector<std::size_t> assigned;
    if (options_.assignment.value_or(input.phase) == RouterPhase::kTraining) {
      std::vector<std::size_t> quota(input.experts, input.tokens / input.experts);
      for (std::size_t e = 0; e < input.tokens % input.experts; ++e) {
        ++quota[e];
      }
      const auto [low, high] = std::minmax_element(input.scores.begin(), input.scores.end());
      assigned = auction_assignment(input.scores, input.experts, quota, std::max((*high - *low) / 50.0, 1e-4));
    } else {
      for (std::size_t t = 0; t < input.tokens; ++t) {
        assigned.push_back(best_expert(input.scores.subspan(t * input.experts, input.experts)));
      }
    }
    for (std::size_t t = 0; t < input.tokens; ++t) {
      out.experts[t] = static_cast<ExpertIndex>(assigned[t]);
      if (!out.weights.empty()) {
        out.weights[t] = 1.0F / (1.0F + std::exp(-input.scores[t * input.experts + assigned[t]]));
      }
    }
  }

 private:
  BaseOptions options_;
};

}  // namespace

RouterEntry base_router() {
  return router_entry<BaseOptions, BaseRouter>("base", "",
                                               "balanced assignment by auction in training, best expert at inference",
                                               "BASE layers, arXiv 2103.16716; fairseq, modules/base_layer.py");
}

}  // namespace moesim
