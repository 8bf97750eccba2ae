#include <algorithm>
#include <cmath>

#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/entry.hpp"
#include "workloads/routing/routers/gate.hpp"
#include "workloads/routing/routers/select.hpp"

namespace moesim {

namespace {

struct SinkhornOptions {
  std::size_t k = 1;
  double tolerance = 1e-4;
  std::size_t most_rounds = 1000;
  std::optional<std::size_t> group_tokens = std::nullopt;
  std::optional<RouterPhase> assignment = std::nullopt;

  template <class F>
  static void describe(F& f) {
    f.optional("k", &SinkhornOptions::k, "Experts per token", Rules::between(1, 65535));
    f.optional("tolerance", &SinkhornOptions::tolerance, "Of the mean change of the experts' factors",
               Rules::above_zero());
    f.optional("most_rounds", &SinkhornOptions::most_rounds, "Then it stops all the same", Rules::between(1, 1 << 20));
    f.optional("group_tokens", &SinkhornOptions::group_tokens, "Tokens balanced together; absent: the whole batch",
               Rules::between(2, 1 << 24));
    f.optional("assignment", &SinkhornOptions::assignment,
               "training: balanced, inference: top-k; absent: as the phase is");
  }
};

/// K = e^{logits} [tokens n0, experts n1] is scaled to rows that sum to 1/n0 and columns that sum to 1/n1:
///   d0_t = 1/(n0·(Σ_e d1_e·K_te + ε)), d1_e = 1/(n1·(Σ_t d0_t·K_te + ε)), until mean |Δd1| < tolerance;
/// the experts are the top-k of d1·K·d0, the gate is the sigmoid (k = 1) or softmax of the raw logits.
/// Megatron-LM, core/transformer/moe/moe_utils.py, sinkhorn.
class SinkhornRouter final : public TokenRouter {
 public:
  SinkhornRouter(const SinkhornOptions& options, const RouterContext& context) : options_(options) {
    expect_router(options.k <= context.experts, context, "expected k of at most the number of experts, found more");
  }

  [[nodiscard]] std::size_t group_tokens(std::size_t batch) const override {
    return options_.group_tokens.value_or(std::max<std::size_t>(batch, 1));
  }
  [[nodiscard]] ScoreFunction score_function() const override {
    return options_.k == 1 ? ScoreFunction::kSigmoid : ScoreFunction::kSoftmax;
  }

  void route(const RouterInput& input, RandomStream&, RoutedTokens& out) const override {
    const SelectRule rule{.experts = input.experts, .k = options_.k};
    out.reset(input, rule.k);
    out.choices = out.experts.size();
    if (options_.assignment.value_or(input.phase) == RouterPhase::kTraining) {
      // Rows differ by their factor d0 alone, which changes nothing in the order of a row's experts.
      const std::vector<double> factor = column_factors(input);
      std::vector<float> balanced(input.scores.begin(), input.scores.end());
      for (std::size_t i = 0; i < balanced.size(); ++i) {
        balanced[i] = static_cast<float>(balanced[i] + std::log(factor[i % input.experts]));
      }
      select_experts(rule, balanced.data(), input.tokens, out.experts.data());
    } else {
      select_experts(rule, input.scores.data(), input.tokens, out.experts.data());
    }
    std::vector<float> gates(input.experts);
    for (std::size_t t = 0; t < input.tokens && !out.weights.empty(); ++t) {
      const auto row = input.scores.subspan(t * input.experts, input.experts);
      if (rule.k == 1) {
        out.weights[t] = 1.0F / (1.0F + std::exp(-row[out.experts[t]]));
        continue;
      }
      softmax(row, gates);
      for (std::size_t i = t * rule.k; i < (t + 1) * rule.k; ++i) {
        out.weights[i] = gates[out.experts[i]];
      }
    }
  }

 private:
  [[nodiscard]] std::vector<double> column_factors(const RouterInput& input) const {
    constexpr double kTiny = 1e-8;  // Megatron's guard against division by zero
    std::vector<double> kernel(input.scores.begin(), input.scores.end());
    for (double& value : kernel) {
      value = std::exp(value);
    }
    const auto rows = static_cast<double>(input.tokens);
    const auto columns = static_cast<double>(input.experts);
    std::vector<double> factor(input.experts, 1.0);
    std::vector<double> sum(input.experts);
    for (std::size_t round = 0; round < options_.most_rounds; ++round) {
      std::fill(sum.begin(), sum.end(), 0.0);
      for (std::size_t t = 0; t < input.tokens; ++t) {
        const double* row = kernel.data() + t * input.experts;
        double weighted = 0.0;
        for (std::size_t e = 0; e < input.experts; ++e) {
          weighted += factor[e] * row[e];
        }
        const double row_factor = 1.0 / (rows * (weighted + kTiny));
        for (std::size_t e = 0; e < input.experts; ++e) {
          sum[e] += row_factor * row[e];
        }
      }
      double change = 0.0;
      for (std::size_t e = 0; e < input.experts; ++e) {
        const double next = 1.0 / (columns * (sum[e] + kTiny));
        change += std::abs(next - factor[e]);
        factor[e] = next;
      }
      if (change / columns < options_.tolerance) {
        break;
      }
    }
    return factor;
  }

  SinkhornOptions options_;
};

}  // namespace

RouterEntry sinkhorn_router() {
  return router_entry<SinkhornOptions, SinkhornRouter>(
      "sinkhorn", "s-base", "logits scaled to even rows and columns, then the best (S-BASE)",
      "Clark et al. 2022, arXiv 2202.01169; Megatron-LM, moe_utils.sinkhorn");
}

}  // namespace moesim
