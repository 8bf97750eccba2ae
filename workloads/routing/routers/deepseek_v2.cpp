#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/entry.hpp"
#include "workloads/routing/routers/gate.hpp"
#include "workloads/routing/routers/select.hpp"

namespace moesim {

namespace {

struct DeepSeekV2Options {
  std::optional<std::size_t> k = std::nullopt;
  std::size_t groups = 8;
  std::size_t groups_per_token = 3;
  double scale = 16.0;
  std::size_t devices = 8;
  double device_capacity_factor = 1.0;
  std::size_t group_tokens = 4096;
  double balance_loss = 0.003;
  double device_loss = 0.05;
  double communication_loss = 0.02;

  template <class F>
  static void describe(F& f) {
    f.optional("k", &DeepSeekV2Options::k, "Experts per token; absent: the model's (6)", Rules::between(1, 65535));
    f.optional("groups", &DeepSeekV2Options::groups, "Blocks of experts", Rules::between(1, 65535));
    f.optional("groups_per_token", &DeepSeekV2Options::groups_per_token, "Blocks that a token's experts may come from",
               Rules::between(1, 65535));
    f.optional("scale", &DeepSeekV2Options::scale, "Weights are multiplied with this", Rules::above_zero());
    f.optional("devices", &DeepSeekV2Options::devices, "Blocks of experts that drop tokens together in training",
               Rules::between(1, 65535));
    f.optional("device_capacity_factor", &DeepSeekV2Options::device_capacity_factor,
               "Rows of a device over the mean, in training", Rules::above_zero());
    f.optional("group_tokens", &DeepSeekV2Options::group_tokens, "Tokens that compete for them",
               Rules::between(2, 1 << 24));
    f.optional("balance_loss", &DeepSeekV2Options::balance_loss, "Published weight of the expert-level balance loss",
               Rules::at_least(0));
    f.optional("device_loss", &DeepSeekV2Options::device_loss, "Published weight of the device-level balance loss",
               Rules::at_least(0));
    f.optional("communication_loss", &DeepSeekV2Options::communication_loss,
               "Published weight of the communication balance loss", Rules::at_least(0));
  }
};

/// Softmax; blocks worth their best expert, top-3 of 8 blocks; top-6, not renormalised, × 16. In training a device
/// keeps the ⌊CF·S·k/D⌋ choices of the highest affinity, of all choices for its experts. The losses of devices and
/// communication take these devices, M of them the blocks that a token may go to.
class DeepSeekV2Router final : public TokenRouter {
 public:
  DeepSeekV2Router(const DeepSeekV2Options& options, const RouterContext& context)
      : options_(options),
        rule_{.experts = context.experts,
              .k = options.k.value_or(context.k),
              .groups = options.groups,
              .groups_per_token = options.groups_per_token} {
    expect_router(rule_.experts % rule_.groups == 0 && rule_.experts % options.devices == 0, context,
                  fmt::format("expected groups and devices that divide the {} experts, found {} and {}", rule_.experts,
                              rule_.groups, options.devices));
    if (!rule_.limits()) {
      rule_.groups = 1;
      rule_.groups_per_token = 1;
    }
    expect_router(rule_.k <= rule_.experts / rule_.groups * rule_.groups_per_token, context,
                  fmt::format("expected {} groups of {} experts to hold the {} of a token, found too few",
                              rule_.groups_per_token, rule_.experts / rule_.groups, rule_.k));
  }

  [[nodiscard]] std::size_t group_tokens(std::size_t) const override { return options_.group_tokens; }
  [[nodiscard]] PublishedBalance published_balance() const override {
    return {.balance = options_.balance_loss,
            .device = options_.device_loss,
            .communication = options_.communication_loss,
            .devices = options_.devices,
            .devices_per_token = std::min(options_.groups_per_token, options_.devices)};
  }

  void route(const RouterInput& input, RandomStream&, RoutedTokens& out) const override {
    out.reset(input, rule_.k);
    out.choices = out.experts.size();
    select_experts(rule_, input.scores.data(), input.tokens, out.experts.data());
    const bool drops = input.phase == RouterPhase::kTraining;
    if (!drops && out.weights.empty()) {
      return;
    }
    std::vector<float> affinity(out.experts.size());
    std::vector<float> gates(input.experts);
    for (std::size_t t = 0; t < input.tokens; ++t) {
      softmax(input.scores.subspan(t * input.experts, input.experts), gates);
      for (std::size_t i = t * rule_.k; i < (t + 1) * rule_.k; ++i) {
        affinity[i] = gates[out.experts[i]];
      }
    }
    for (std::size_t i = 0; i < out.weights.size(); ++i) {
      out.weights[i] = affinity[i] * static_cast<float>(options_.scale);
    }
    if (drops) {
      if (!out.weights.empty()) {
        out.wished = out.experts;
      }
      drop(affinity, out);
    }
  }

 private:
  void drop(std::span<const float> affinity, RoutedTokens& out) const {
    const std::size_t each = rule_.experts / options_.devices;
    const double mean = static_cast<double>(out.experts.size()) / static_cast<double>(options_.devices);
    const auto rows = static_cast<std::size_t>(options_.device_capacity_factor * mean);
    std::vector<std::vector<std::size_t>> asked(options_.devices);
    for (std::size_t i = 0; i < out.experts.size(); ++i) {
      asked[out.experts[i] / each].push_back(i);
    }
    for (auto& choices : asked) {
      std::stable_sort(choices.begin(), choices.end(),
                       [&](std::size_t a, std::size_t b) { return affinity[a] > affinity[b]; });
      for (std::size_t place = rows; place < choices.size(); ++place) {
        out.experts[choices[place]] = kNoExpert;
        if (!out.weights.empty()) {
          out.weights[choices[place]] = 0.0F;
        }
        ++out.dropped;
      }
    }
  }

  DeepSeekV2Options options_;
  SelectRule rule_;
};

}  // namespace

RouterEntry deepseek_v2_router() {
  return router_entry<DeepSeekV2Options, DeepSeekV2Router>(
      "deepseek-v2", "", "softmax; top-6 in 3 of 8 blocks, x 16; devices drop the lowest affinities in training",
      "DeepSeek-V2, arXiv 2405.04434, section 2.2");
}

}  // namespace moesim
