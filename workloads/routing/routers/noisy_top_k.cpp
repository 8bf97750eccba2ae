#include <fmt/format.h>

#include <cmath>

#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/entry.hpp"
#include "workloads/routing/routers/gate.hpp"
#include "workloads/routing/routers/select.hpp"

namespace moesim {

namespace {

struct NoisyTopKOptions {
  std::optional<std::size_t> k = std::nullopt;
  double noise_logit = 0.0;
  double importance_loss = 0.01;
  double load_loss = 0.01;

  template <class F>
  static void describe(F& f) {
    f.optional("k", &NoisyTopKOptions::k, "Experts per token; absent: the model's", Rules::between(1, 65535));
    f.optional("noise_logit", &NoisyTopKOptions::noise_logit,
               "x*W_noise, taken to be the same for all (0, as its weights start): noise = softplus(this) + 0.01",
               Rules::between(-30, 30));
    f.optional("importance_loss", &NoisyTopKOptions::importance_loss, "Weight of CV^2 of summed gates in training",
               Rules::at_least(0));
    f.optional("load_loss", &NoisyTopKOptions::load_loss, "Weight of CV^2 of expected loads in training",
               Rules::at_least(0));
  }
};

/// logits = x·W + N(0, 1)·(softplus(noise) + 1e-2), the noise in training only; keep k; softmax over the kept.
/// tensor2tensor, expert_utils.noisy_top_k_gating.
class NoisyTopKRouter final : public TokenRouter {
 public:
  NoisyTopKRouter(const NoisyTopKOptions& options, const RouterContext& context)
      : options_(options), rule_{.experts = context.experts, .k = options.k.value_or(context.k)} {
    expect_router(rule_.k <= rule_.experts, context,
                  fmt::format("expected at most the {} experts, found k = {}", rule_.experts, rule_.k));
  }

  [[nodiscard]] double noise_deviation() const override {
    constexpr double kLeast = 1e-2;
    return std::log1p(std::exp(options_.noise_logit)) + kLeast;
  }
  [[nodiscard]] PublishedBalance published_balance() const override {
    return {.importance = options_.importance_loss, .load = options_.load_loss};
  }

  void route(const RouterInput& input, RandomStream& random, RoutedTokens& out) const override {
    out.reset(input, rule_.k);
    out.choices = out.experts.size();
    std::vector<float> noisy(input.scores.begin(), input.scores.end());
    if (input.phase == RouterPhase::kTraining) {
      out.noise = add_noise(noisy, noise_deviation(), random);
    }
    select_experts(rule_, noisy.data(), input.tokens, out.experts.data());
    for (std::size_t t = 0; t < input.tokens && !out.weights.empty(); ++t) {
      const std::span weights = std::span(out.weights).subspan(t * rule_.k, rule_.k);
      for (std::size_t i = 0; i < rule_.k; ++i) {
        weights[i] = noisy[t * input.experts + out.token(t)[i]];
      }
      softmax(weights, weights);
    }
  }

 private:
  NoisyTopKOptions options_;
  SelectRule rule_;
};

}  // namespace

RouterEntry noisy_top_k_router() {
  return router_entry<NoisyTopKOptions, NoisyTopKRouter>(
      "noisy-top-k", "", "top-k of noisy logits, softmax over the kept; importance and load losses",
      "Shazeer et al. 2017, arXiv 1701.06538; tensor2tensor, expert_utils");
}

}  // namespace moesim
