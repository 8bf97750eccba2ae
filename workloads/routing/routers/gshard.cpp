#include "workloads/routing/routers/gshard.hpp"

#include <algorithm>
#include <cmath>

#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/entry.hpp"
#include "workloads/routing/routers/gate.hpp"

namespace moesim {

namespace {

/// GShard (Lepikhin et al. 2020), algorithm 1; rows of an expert per group of S tokens by CapacityRule, at least
/// `least_rows`, at most S.
class GshardRouter final : public TokenRouter {
 public:
  GshardRouter(const GshardOptions& options, const RouterContext& context)
      : options_(options),
        experts_(context.experts),
        factor_(options.capacity_factor.value_or(
            context.capacity_factor.value_or(options.rule == CapacityRule::kDeepSpeed ? 1.0 : 2.0))) {}

  [[nodiscard]] std::size_t group_tokens(std::size_t) const override { return options_.group_tokens; }
  [[nodiscard]] std::optional<std::size_t> buffer_rows(std::size_t tokens, RouterPhase phase) const override {
    const bool by_share = options_.inference_share && phase == RouterPhase::kInference;
    return options_.padded && !by_share ? std::optional(rows(tokens, phase)) : std::nullopt;
  }
  [[nodiscard]] PublishedBalance published_balance() const override { return {.gshard = options_.balance_loss}; }

  void route(const RouterInput& input, RandomStream& random, RoutedTokens& out) const override {
    out.reset(input, std::min<std::size_t>(2, input.experts));
    std::vector<float> gates(input.scores.size());
    for (std::size_t t = 0; t < input.tokens; ++t) {
      softmax(input.scores.subspan(t * input.experts, input.experts),
              std::span(gates).subspan(t * input.experts, input.experts));
    }
    const std::vector<int> wanted(input.tokens, 2);
    const TopTwoRule rule{rows(input.tokens, input.phase), options_.second, options_.threshold};
    const TopTwoResult result = gate_top_two(gates, input.experts, wanted, rule, random);
    out.choices = result.choices;
    out.dropped = result.dropped;
    const auto wish = [&](std::optional<std::size_t> expert) {
      out.wished.push_back(expert ? static_cast<ExpertIndex>(*expert) : kNoExpert);
    };
    for (std::size_t t = 0; t < input.tokens; ++t) {
      const TopTwo& token = result.tokens[t];
      if (!out.weights.empty()) {
        wish(token.first_wish);
      }
      if (!out.weights.empty() && out.slots > 1) {
        wish(token.second_wish);
      }
      put(out, t * out.slots, token.first, token.first_gate, input.phase, random);
      if (out.slots > 1) {
        put(out, t * out.slots + 1, token.second, token.second_gate, input.phase, random);
      }
    }
  }

 private:
  [[nodiscard]] std::size_t rows(std::size_t tokens, RouterPhase phase) const {
    const auto group = static_cast<double>(tokens);
    if (options_.inference_share && phase == RouterPhase::kInference) {
      return static_cast<std::size_t>(std::ceil(*options_.inference_share * group));
    }
    const double factor = phase == RouterPhase::kTraining ? options_.training_capacity_factor : factor_;
    const double even = group / static_cast<double>(experts_);
    double wanted = 0.0;
    switch (options_.rule) {
      case CapacityRule::kMesh:
        wanted = std::floor(factor * even);
        break;
      case CapacityRule::kFairseq:
        wanted = factor * std::ceil(even);
        break;
      case CapacityRule::kDeepSpeed:
        wanted = std::ceil(2.0 * factor * even);
        break;
    }
    const std::size_t rows = std::max(static_cast<std::size_t>(wanted), options_.least_rows);
    return std::min((rows + options_.rows_multiple - 1) / options_.rows_multiple * options_.rows_multiple, tokens);
  }

  void put(RoutedTokens& out, std::size_t slot, std::optional<std::size_t> expert, float gate, RouterPhase phase,
           RandomStream& random) const {
    if (!expert) {
      return;
    }
    out.experts[slot] = static_cast<ExpertIndex>(*expert);
    const bool masked =
        phase == RouterPhase::kTraining && options_.expert_dropout > 0.0 && random.uniform() < options_.expert_dropout;
    if (!out.weights.empty()) {
      out.weights[slot] = masked ? 0.0F : gate;
    }
  }

  GshardOptions options_;
  std::size_t experts_;
  double factor_;
};

}  // namespace

RouterEntry gshard_entry(std::string_view name, std::string_view alias, std::string_view summary,
                         std::string_view source, const GshardOptions& preset) {
  return router_entry<GshardOptions, GshardRouter>(name, alias, summary, source, preset);
}

RouterEntry gshard_router() {
  return gshard_entry("gshard", "gshard-top-2", "top-2 in groups with capacity, the second expert at random",
                      "GShard, arXiv 2006.16668, algorithm 1; mesh-tensorflow, transformer/moe.py", {});
}

}  // namespace moesim
