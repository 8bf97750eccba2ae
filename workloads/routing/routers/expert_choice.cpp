#include <algorithm>
#include <cmath>
#include <numeric>

#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/entry.hpp"
#include "workloads/routing/routers/gate.hpp"

namespace moesim {

namespace {

struct ExpertChoiceOptions {
  double capacity_factor = 2.0;
  std::size_t group_tokens = 4096;

  template <class F>
  static void describe(F& f) {
    f.optional("capacity_factor", &ExpertChoiceOptions::capacity_factor,
               "Tokens of an expert over group_tokens/experts: experts per token in the mean", Rules::above_zero());
    f.optional("group_tokens", &ExpertChoiceOptions::group_tokens, "Tokens that the experts choose among",
               Rules::between(2, 1 << 24));
  }
};

/// Each expert takes the C = CF·S/E tokens of the group with the highest softmax score for it (at least one, at most
/// all); a token has 0 … E experts. Experts of a token stand in the order of their numbers.
class ExpertChoiceRouter final : public TokenRouter {
 public:
  ExpertChoiceRouter(const ExpertChoiceOptions& options, const RouterContext&) : options_(options) {}

  [[nodiscard]] std::size_t group_tokens(std::size_t) const override { return options_.group_tokens; }

  void route(const RouterInput& input, RandomStream&, RoutedTokens& out) const override {
    const double even = static_cast<double>(input.tokens) / static_cast<double>(input.experts);
    const std::size_t rows =
        std::clamp<std::size_t>(static_cast<std::size_t>(std::floor(options_.capacity_factor * even)), 1, input.tokens);
    std::vector<float> gates(input.scores.size());
    for (std::size_t t = 0; t < input.tokens; ++t) {
      softmax(input.scores.subspan(t * input.experts, input.experts),
              std::span(gates).subspan(t * input.experts, input.experts));
    }
    std::vector<std::vector<ExpertIndex>> chosen(input.tokens);
    std::vector<std::size_t> order(input.tokens);
    for (std::size_t e = 0; e < input.experts; ++e) {
      std::iota(order.begin(), order.end(), std::size_t{0});
      const auto last = order.begin() + static_cast<std::ptrdiff_t>(rows);
      std::nth_element(order.begin(), last - 1, order.end(), [&](std::size_t a, std::size_t b) {
        const float first = gates[a * input.experts + e];
        const float second = gates[b * input.experts + e];
        return first > second || (first == second && a < b);
      });
      for (auto token = order.begin(); token != last; ++token) {
        chosen[*token].push_back(static_cast<ExpertIndex>(e));
      }
    }
    std::size_t most = 1;
    for (const auto& experts : chosen) {
      most = std::max(most, experts.size());
    }
    out.reset(input, most);
    out.choices = rows * input.experts;
    for (std::size_t t = 0; t < input.tokens; ++t) {
      for (std::size_t i = 0; i < chosen[t].size(); ++i) {
        out.experts[t * most + i] = chosen[t][i];
        if (!out.weights.empty()) {
          out.weights[t * most + i] = gates[t * input.experts + chosen[t][i]];
        }
      }
    }
  }

 private:
  ExpertChoiceOptions options_;
};

}  // namespace

RouterEntry expert_choice_router() {
  return router_entry<ExpertChoiceOptions, ExpertChoiceRouter>(
      "expert-choice", "", "each expert takes its best tokens, as many as every other; no loss, nothing dropped",
      "Zhou et al. 2022, arXiv 2202.09368");
}

}  // namespace moesim
