#include <algorithm>
#include <cmath>

#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/entry.hpp"
#include "workloads/routing/routers/gate.hpp"
#include "workloads/routing/routers/select.hpp"

namespace moesim {

namespace {

struct SwitchOptions {
  std::optional<double> capacity_factor = std::nullopt;
  double training_capacity_factor = 1.25;
  std::size_t least_rows = 4;
  std::size_t group_tokens = 1024;
  double jitter = 0.01;
  bool padded = true;
  double balance_loss = 0.01;
  double z_loss = 0.0;

  template <class F>
  static void describe(F& f) {
    f.optional("capacity_factor", &SwitchOptions::capacity_factor,
               "Rows of an expert over group_tokens/experts, at inference; absent: the model's, else 2",
               Rules::above_zero());
    f.optional("training_capacity_factor", &SwitchOptions::training_capacity_factor, "The same in training",
               Rules::above_zero());
    f.optional("least_rows", &SwitchOptions::least_rows, "Rows of an expert at least", Rules::between(1, 1 << 20));
    f.optional("group_tokens", &SwitchOptions::group_tokens, "Tokens of one group, each with capacity of its own",
               Rules::between(2, 1 << 24));
    f.optional("jitter", &SwitchOptions::jitter, "Inputs are multiplied by 1 -+ this in training",
               Rules::between(0, 1));
    f.optional("padded", &SwitchOptions::padded, "Buffers are sent and computed whole, full or not");
    f.optional("balance_loss", &SwitchOptions::balance_loss, "Published weight of the balance loss",
               Rules::at_least(0));
    f.optional("z_loss", &SwitchOptions::z_loss, "Weight of the z-loss (ST-MoE: 1e-3)", Rules::at_least(0));
  }
};

/// The expert of the highest logit, if it has a row left: C = max(round(CF·S/E), least) per group of S tokens. The
/// weight is the softmax probability itself.
class SwitchRouter final : public TokenRouter {
 public:
  SwitchRouter(const SwitchOptions& options, const RouterContext& context)
      : options_(options),
        experts_(context.experts),
        factor_(options.capacity_factor.value_or(context.capacity_factor.value_or(2.0))) {}

  [[nodiscard]] std::size_t group_tokens(std::size_t) const override { return options_.group_tokens; }
  [[nodiscard]] std::optional<std::size_t> buffer_rows(std::size_t tokens, RouterPhase phase) const override {
    return options_.padded ? std::optional(rows(tokens, phase)) : std::nullopt;
  }
  [[nodiscard]] double input_jitter() const override { return options_.jitter; }
  [[nodiscard]] PublishedBalance published_balance() const override {
    return {.balance = options_.balance_loss, .z = options_.z_loss};
  }

  void route(const RouterInput& input, RandomStream&, RoutedTokens& out) const override {
    out.reset(input, 1);
    out.choices = input.tokens;
    ExpertRoom room(input.experts, rows(input.tokens, input.phase));
    std::vector<ExpertIndex> chosen(input.tokens);
    select_experts({.experts = input.experts, .k = 1}, input.scores.data(), input.tokens, chosen.data());
    for (std::size_t t = 0; t < input.tokens; ++t) {
      const ExpertIndex best = chosen[t];
      if (!out.weights.empty()) {
        out.wished.push_back(best);
      }
      if (!room.take(best)) {
        ++out.dropped;
        continue;
      }
      out.experts[t] = best;
      if (!out.weights.empty()) {
        const auto row = input.scores.subspan(t * input.experts, input.experts);
        out.weights[t] = static_cast<float>(std::exp(row[best] - log_sum_exp(row)));
      }
    }
  }

 private:
  [[nodiscard]] std::size_t rows(std::size_t tokens, RouterPhase phase) const {
    const double factor = phase == RouterPhase::kTraining ? options_.training_capacity_factor : factor_;
    const double wanted = std::round(factor * static_cast<double>(tokens) / static_cast<double>(experts_));
    return std::max(static_cast<std::size_t>(wanted), options_.least_rows);
  }

  SwitchOptions options_;
  std::size_t experts_;
  double factor_;
};

}  // namespace

RouterEntry switch_router() {
  return router_entry<SwitchOptions, SwitchRouter>(
      "switch", "switch-top-1", "top-1 with capacity; what finds no room goes to no expert",
      "Switch Transformers, arXiv 2101.03961; mesh-tensorflow, flaxformer");
}

}  // namespace moesim
