#include "workloads/routing/routers/top_k.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "workloads/routing/routers/entry.hpp"
#include "workloads/routing/routers/gate.hpp"

namespace moesim {

namespace {

SelectRule rule_of(const TopKOptions& options, const RouterContext& context) {
  SelectRule rule{.experts = context.experts, .k = options.k.value_or(context.k), .group_score = options.group_score};
  rule.groups = options.groups.value_or(context.groups);
  rule.groups_per_token = options.groups_per_token.value_or(context.groups_per_token);
  if (!rule.limits()) {
    rule.groups = 1;
    rule.groups_per_token = 1;
  }
  expect_router(rule.experts % rule.groups == 0, context,
                fmt::format("expected groups that divide the {} experts, found {}", rule.experts, rule.groups));
  expect_router(rule.k <= rule.experts / rule.groups * rule.groups_per_token, context,
                fmt::format("expected {} groups of {} experts to hold the {} of a token, found too few",
                            rule.groups_per_token, rule.experts / rule.groups, rule.k));
  return rule;
}

}  // namespace

TopKRouter::TopKRouter(const TopKOptions& options, const RouterContext& context)
    : options_(options), rule_(rule_of(options, context)) {}

ScoreFunction TopKRouter::score_function() const {
  return options_.gate == GateFunction::kSigmoid ? ScoreFunction::kSigmoid : ScoreFunction::kSoftmax;
}

PublishedBalance TopKRouter::published_balance() const {
  const double share = options_.balance_share == BalanceShare::kOfTokens ? static_cast<double>(rule_.k) : 1.0;
  return {.balance = share * options_.balance_loss, .z = options_.z_loss, .bias_rate = options_.bias_rate};
}

void TopKRouter::route(const RouterInput& input, RandomStream&, RoutedTokens& out) const {
  out.slots = rule_.k;
  out.experts.resize(input.tokens * rule_.k);
  out.choices = input.tokens * rule_.k;
  out.dropped = 0;
  out.wished.clear();
  out.noise.clear();
  choose(input, out.experts);
  std::vector<float> scratch(input.experts);
  out.weights.resize(input.weights == GateWeights::kWanted ? out.experts.size() : 0);
  for (std::size_t t = 0; t < input.tokens && !out.weights.empty(); ++t) {
    weigh(input.scores.subspan(t * input.experts, input.experts), out.token(t),
          std::span(out.weights).subspan(t * rule_.k, rule_.k), scratch);
  }
}

void TopKRouter::choose(const RouterInput& input, std::span<ExpertIndex> chosen) const {
  const bool sigmoid = options_.gate == GateFunction::kSigmoid;
  if (!sigmoid && input.bias.empty()) {
    select_experts(rule_, input.scores.data(), input.tokens, chosen.data());
    return;
  }
  constexpr std::size_t kChunk = 16;  // tokens whose changed scores stay in the nearest cache
  std::vector<float> biased(kChunk * input.experts);
  for (std::size_t first = 0; first < input.tokens; first += kChunk) {
    const std::size_t count = std::min(kChunk, input.tokens - first);
    for (std::size_t t = 0; t < count; ++t) {
      const auto scores = input.scores.subspan((first + t) * input.experts, input.experts);
      const auto row = std::span(biased).subspan(t * input.experts, input.experts);
      if (sigmoid) {
        biased_sigmoid(scores, input.bias, row);
      } else {
        std::transform(scores.begin(), scores.end(), input.bias.begin(), row.begin(), std::plus<>());
      }
    }
    select_experts(rule_, biased.data(), count, chosen.data() + first * rule_.k);
  }
}

void TopKRouter::weigh(std::span<const float> logits, std::span<const ExpertIndex> chosen, std::span<float> weights,
                       std::vector<float>& scratch) const {
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    weights[i] = logits[chosen[i]];
  }
  switch (options_.gate) {
    case GateFunction::kSoftmaxOfChosen:
      softmax(weights, weights);
      break;
    case GateFunction::kSigmoid:
      biased_sigmoid(weights, {}, weights);
      break;
    case GateFunction::kSoftmax:
      softmax(logits, scratch);
      for (std::size_t i = 0; i < chosen.size(); ++i) {
        weights[i] = scratch[chosen[i]];
      }
      break;
  }
  if (options_.normalise) {
    normalise(weights);
  }
  for (float& weight : weights) {
    weight *= static_cast<float>(options_.scale);
  }
}

RouterEntry top_k_entry(std::string_view name, std::string_view summary, std::string_view source,
                        const TopKOptions& preset) {
  return router_entry<TopKOptions, TopKRouter>(name, "", summary, source, preset);
}

RouterEntry softmax_top_k_router() {
  return top_k_entry("softmax-top-k", "softmax over all experts, top-k, weights as they are",
                     "Hugging Face transformers, norm_topk_prob = false", {});
}

RouterEntry top_k_softmax_router() {
  return top_k_entry("top-k-softmax", "top-k logits, softmax over the chosen", "Shazeer et al. 2017, without noise",
                     {.gate = GateFunction::kSoftmaxOfChosen});
}

RouterEntry sigmoid_top_k_router() {
  return top_k_entry("sigmoid-top-k", "top-k, each weight the sigmoid of its logit", "Llama 4 with k > 1",
                     {.gate = GateFunction::kSigmoid});
}

RouterEntry sigmoid_bias_top_k_router() {
  return top_k_entry(
      "sigmoid-bias-top-k", "sigmoid, top-k on score + bias, weights normalised",
      "DeepSeek-V3 without its figures, arXiv 2408.15664",
      {.gate = GateFunction::kSigmoid, .normalise = true, .group_score = GroupScore::kBestTwo, .bias_rate = 1e-3});
}

RouterEntry group_limited_top_k_router() {
  return top_k_entry("group-limited-top-k", "softmax, top-k inside the best blocks of experts",
                     "DeepSeek-V2 without its figures, arXiv 2405.04434", {});
}

}  // namespace moesim
