#pragma once

#include <optional>

#include "sim/config/describe.hpp"
#include "workloads/routing/routers/registry.hpp"
#include "workloads/routing/routers/select.hpp"

namespace moesim {

/// What a chosen expert's output is multiplied with: its softmax among all experts or among the chosen, or its sigmoid.
enum class GateFunction { kSoftmax, kSoftmaxOfChosen, kSigmoid };
template <>
struct EnumNames<GateFunction> {
  static constexpr auto names =
      std::to_array<std::pair<GateFunction, std::string_view>>({{GateFunction::kSoftmax, "softmax"},
                                                                {GateFunction::kSoftmaxOfChosen, "softmax-of-chosen"},
                                                                {GateFunction::kSigmoid, "sigmoid"}});
};

/// What the balance loss takes as an expert's share f_e: that of all choices, so that f sums to 1, or choices per
/// token, so that it sums to k (transformers, load_balancing_loss_func).
enum class BalanceShare { kOfChoices, kOfTokens };
template <>
struct EnumNames<BalanceShare> {
  static constexpr auto names = std::to_array<std::pair<BalanceShare, std::string_view>>(
      {{BalanceShare::kOfChoices, "of-choices"}, {BalanceShare::kOfTokens, "of-tokens"}});
};

/// Token-choice top-k without capacity, as nearly all models of today route.
struct TopKOptions {
  GateFunction gate = GateFunction::kSoftmax;
  std::optional<std::size_t> k = std::nullopt;
  bool normalise = false;
  double scale = 1.0;
  std::optional<std::size_t> groups = std::nullopt;
  std::optional<std::size_t> groups_per_token = std::nullopt;
  GroupScore group_score = GroupScore::kBest;
  double balance_loss = 0.0;
  BalanceShare balance_share = BalanceShare::kOfChoices;
  double z_loss = 0.0;
  double bias_rate = 0.0;

  template <class F>
  static void describe(F& f) {
    f.optional("gate", &TopKOptions::gate, "Weight of a chosen expert; with sigmoid, selection is on sigmoid + bias");
    f.optional("k", &TopKOptions::k, "Experts per token; absent: the model's", Rules::between(1, 65535));
    f.optional("normalise", &TopKOptions::normalise, "Weights of a token are divided by their sum");
    f.optional("scale", &TopKOptions::scale, "Then multiplied with this", Rules::above_zero());
    f.optional("groups", &TopKOptions::groups, "Blocks of experts that limit a token; absent: the model's",
               Rules::between(1, 65535));
    f.optional("groups_per_token", &TopKOptions::groups_per_token, "Blocks that a token's experts may come from",
               Rules::between(1, 65535));
    f.optional("group_score", &TopKOptions::group_score, "What a block is worth to a token");
    f.optional("balance_loss", &TopKOptions::balance_loss, "Published weight of the balance loss in training",
               Rules::at_least(0));
    f.optional("balance_share", &TopKOptions::balance_share,
               "What that weight belongs to: an expert's share of all choices, or its choices per token");
    f.optional("z_loss", &TopKOptions::z_loss, "Published weight of the z-loss", Rules::at_least(0));
    f.optional("bias_rate", &TopKOptions::bias_rate, "Published step of the selection bias", Rules::at_least(0));
  }
};

/// s = logits, or sigmoid(logits) + bias where the gate is a sigmoid; blocks are limited by their worth in s, the k
/// largest s of what is left are chosen; weights never hold the bias.
class TopKRouter : public TokenRouter {
 public:
  TopKRouter(const TopKOptions& options, const RouterContext& context);
  void route(const RouterInput& input, RandomStream& random, RoutedTokens& out) const override;
  [[nodiscard]] ScoreFunction score_function() const override;
  [[nodiscard]] PublishedBalance published_balance() const override;

 protected:
  [[nodiscard]] const SelectRule& rule() const { return rule_; }

 private:
  void choose(const RouterInput& input, std::span<ExpertIndex> chosen) const;
  void weigh(std::span<const float> logits, std::span<const ExpertIndex> chosen, std::span<float> weights,
             std::vector<float>& scratch) const;

  TopKOptions options_;
  SelectRule rule_;
};

/// A row of the table for a router of this class.
RouterEntry top_k_entry(std::string_view name, std::string_view summary, std::string_view source,
                        const TopKOptions& preset);

}  // namespace moesim
