#include <algorithm>
#include <cmath>
#include <numeric>

#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/entry.hpp"
#include "workloads/routing/routers/gate.hpp"
#include "workloads/routing/routers/select.hpp"

namespace moesim {

namespace {

struct VMoeOptions {
  std::optional<std::size_t> k = std::nullopt;
  std::optional<double> capacity_factor = std::nullopt;
  double training_capacity_factor = 1.05;
  std::size_t group_tokens = 2048;
  bool prioritised = true;
  bool padded = true;
  double importance_loss = 0.005;
  double load_loss = 0.005;

  template <class F>
  static void describe(F& f) {
    f.optional("k", &VMoeOptions::k, "Experts per token; absent: the model's", Rules::between(1, 65535));
    f.optional("capacity_factor", &VMoeOptions::capacity_factor,
               "Rows of an expert over k*group_tokens/experts, at inference; absent: the model's, else 1.05",
               Rules::above_zero());
    f.optional("training_capacity_factor", &VMoeOptions::training_capacity_factor, "The same in training",
               Rules::above_zero());
    f.optional("group_tokens", &VMoeOptions::group_tokens, "Tokens of one group, each with capacity of its own",
               Rules::between(2, 1 << 24));
    f.optional("prioritised", &VMoeOptions::prioritised,
               "Tokens with the highest gates take rows first; else in their order");
    f.optional("padded", &VMoeOptions::padded, "Buffers are sent and computed whole, full or not");
    f.optional("importance_loss", &VMoeOptions::importance_loss, "Weight of CV^2 of summed gates in training",
               Rules::at_least(0));
    f.optional("load_loss", &VMoeOptions::load_loss, "Weight of CV^2 of expected loads in training",
               Rules::at_least(0));
  }
};

constexpr std::size_t kRowMultiple = 4;

/// Batch prioritised routing: softmax of logits + N(0, 1/E²) (training), top-k; rows are given out to all first
/// choices, then to all second ones, each time in falling order of the tokens' largest gates.
///   C = ⌈S·k·CF/E⌉, rounded up to a multiple of 4.
class VMoeRouter final : public TokenRouter {
 public:
  VMoeRouter(const VMoeOptions& options, const RouterContext& context)
      : options_(options),
        rule_{.experts = context.experts, .k = options.k.value_or(context.k)},
        factor_(options.capacity_factor.value_or(context.capacity_factor.value_or(1.05))) {
    expect_router(rule_.k <= rule_.experts, context, "expected k of at most the number of experts, found more");
  }

  [[nodiscard]] std::size_t group_tokens(std::size_t) const override { return options_.group_tokens; }
  [[nodiscard]] std::optional<std::size_t> buffer_rows(std::size_t tokens, RouterPhase phase) const override {
    return options_.padded ? std::optional(rows(tokens, phase)) : std::nullopt;
  }
  [[nodiscard]] double noise_deviation() const override { return 1.0 / static_cast<double>(rule_.experts); }
  [[nodiscard]] PublishedBalance published_balance() const override {
    return {.importance = options_.importance_loss, .load = options_.load_loss, .form = LossForm::kVMoe};
  }

  void route(const RouterInput& input, RandomStream& random, RoutedTokens& out) const override {
    const std::size_t k = rule_.k;
    std::vector<float> gates(input.scores.begin(), input.scores.end());
    std::vector<float> noise;
    if (input.phase == RouterPhase::kTraining) {
      noise = add_noise(gates, noise_deviation(), random);
    }
    for (std::size_t t = 0; t < input.tokens; ++t) {
      const auto row = std::span(gates).subspan(t * input.experts, input.experts);
      softmax(row, row);
    }
    std::vector<ExpertIndex> chosen(input.tokens * k);
    select_experts(rule_, gates.data(), input.tokens, chosen.data());
    const auto gate = [&](std::size_t t, std::size_t slot) { return gates[t * input.experts + chosen[t * k + slot]]; };
    std::vector<std::size_t> order(input.tokens);
    std::iota(order.begin(), order.end(), std::size_t{0});
    if (options_.prioritised) {
      std::stable_sort(order.begin(), order.end(),
                       [&](std::size_t a, std::size_t b) { return gate(a, 0) > gate(b, 0); });
    }
    out.reset(input, k);
    out.noise = std::move(noise);
    out.choices = chosen.size();
    if (!out.weights.empty()) {
      out.wished = chosen;
    }
    ExpertRoom room(input.experts, rows(input.tokens, input.phase));
    for (std::size_t slot = 0; slot < k; ++slot) {
      for (const std::size_t t : order) {
        if (!room.take(chosen[t * k + slot])) {
          ++out.dropped;
          continue;
        }
        out.experts[t * k + slot] = chosen[t * k + slot];
        if (!out.weights.empty()) {
          out.weights[t * k + slot] = gate(t, slot);
        }
      }
    }
  }

 private:
  [[nodiscard]] std::size_t rows(std::size_t tokens, RouterPhase phase) const {
    const double factor = phase == RouterPhase::kTraining ? options_.training_capacity_factor : factor_;
    const auto wanted = static_cast<std::size_t>(
        std::ceil(static_cast<double>(tokens * rule_.k) * factor / static_cast<double>(rule_.experts)));
    return (wanted + kRowMultiple - 1) / kRowMultiple * kRowMultiple;
  }

  VMoeOptions options_;
  SelectRule rule_;
  double factor_;
};

}  // namespace

RouterEntry v_moe_router() {
  return router_entry<VMoeOptions, VMoeRouter>(
      "v-moe", "batch-prioritised-top-k", "top-k with capacity, the surest tokens take rows first",
      "V-MoE, arXiv 2106.05974; google-research/vmoe, moe.py, routing.py and configs/vmoe_paper/common.py");
}

}  // namespace moesim
