#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/entry.hpp"
#include "workloads/routing/routers/gate.hpp"
#include "workloads/routing/routers/top_two.hpp"

namespace moesim {

namespace {

struct HierarchicalOptions {
  std::optional<std::size_t> branches = std::nullopt;
  double capacity_factor = 2.0;
  double training_capacity_factor = 1.25;
  double inner_capacity_factor = 1.0;
  std::size_t least_rows = 4;
  std::size_t group_tokens = 1024;
  SecondExpert second = SecondExpert::kRandom;
  double threshold = 0.2;
  double balance_loss = 0.01;

  template <class F>
  static void describe(F& f) {
    f.optional("branches", &HierarchicalOptions::branches,
               "Groups of experts, chosen among first; absent: the divisor of the experts nearest their square root",
               Rules::between(1, 65535));
    f.optional("capacity_factor", &HierarchicalOptions::capacity_factor,
               "Rows of a branch over group_tokens/branches, at inference", Rules::above_zero());
    f.optional("training_capacity_factor", &HierarchicalOptions::training_capacity_factor, "The same in training",
               Rules::above_zero());
    f.optional("inner_capacity_factor", &HierarchicalOptions::inner_capacity_factor,
               "Rows of an expert over its branch's rows / experts of a branch", Rules::above_zero());
    f.optional("least_rows", &HierarchicalOptions::least_rows, "Rows of a branch or expert at least",
               Rules::between(1, 1 << 20));
    f.optional("group_tokens", &HierarchicalOptions::group_tokens, "Tokens of one group", Rules::between(2, 1 << 24));
    f.optional("second", &HierarchicalOptions::second, "When second branches and experts are used");
    f.optional("threshold", &HierarchicalOptions::threshold, "Of the second gate, for threshold and random",
               Rules::above_zero());
    f.optional("balance_loss", &HierarchicalOptions::balance_loss, "Published weight of the balance loss",
               Rules::at_least(0));
  }
};

std::size_t near_square_root(std::size_t experts) {
  std::size_t best = 1;
  for (std::size_t d = 1; d * d <= experts; ++d) {
    best = experts % d == 0 ? d : best;
  }
  return best;
}

/// Two levels of top-2. A branch's probability is the sum of its experts' softmax, an expert's inside it the rest, so
/// that one matrix of logits serves both. A token's first branch counts as importance 1, its second as 0.5: up to two
/// experts in the one, one in the other, so up to three in all. Inside a branch first-choice tokens come before
/// second-choice ones.
///   outer rows C1 = max(⌊CF·S/branches⌋, least) ≤ S, inner rows C2 = max(⌊CF2·C1/experts per branch⌋, least).
/// mesh-tensorflow deals a branch's rows of all groups anew, into groups of again about S rows that share C2; here each
/// group's C1 rows share theirs, which drops a little more.
class HierarchicalRouter final : public TokenRouter {
 public:
  HierarchicalRouter(const HierarchicalOptions& options, const RouterContext& context)
      : options_(options), branches_(options.branches.value_or(near_square_root(context.experts))) {
    expect_router(context.experts % branches_ == 0, context,
                  fmt::format("expected branches that divide the {} experts, found {}", context.experts, branches_));
    inner_ = context.experts / branches_;
  }

  [[nodiscard]] std::size_t group_tokens(std::size_t) const override { return options_.group_tokens; }
  [[nodiscard]] std::optional<std::size_t> buffer_rows(std::size_t tokens, RouterPhase phase) const override {
    return inner_rows(tokens, phase);
  }
  [[nodiscard]] PublishedBalance published_balance() const override { return {.gshard = options_.balance_loss}; }

  void route(const RouterInput& input, RandomStream& random, RoutedTokens& out) const override {
    std::vector<float> gates(input.scores.size());
    std::vector<float> outer(input.tokens * branches_, 0.0F);
    for (std::size_t t = 0; t < input.tokens; ++t) {
      softmax(input.scores.subspan(t * input.experts, input.experts),
              std::span(gates).subspan(t * input.experts, input.experts));
      for (std::size_t e = 0; e < input.experts; ++e) {
        outer[t * branches_ + e / inner_] += gates[t * input.experts + e];
      }
    }
    const std::vector<int> two(input.tokens, 2);
    const TopTwoResult first = gate_top_two(
        outer, branches_, two, {outer_rows(input.tokens, input.phase), options_.second, options_.threshold}, random);
    out.reset(input, kMostExperts);
    // Of a token that its branch had no room for, no expert is known.
    out.wished.assign(out.weights.size(), kNoExpert);
    out.choices = first.dropped;
    out.dropped = first.dropped;
    for (std::size_t b = 0; b < branches_; ++b) {
      gate_branch(input, gates, first, b, random, out);
    }
  }

 private:
  static constexpr std::size_t kMostExperts = 3;

  void gate_branch(const RouterInput& input, std::span<const float> gates, const TopTwoResult& outer,
                   std::size_t branch, RandomStream& random, RoutedTokens& out) const {
    std::vector<std::size_t> tokens;
    std::vector<int> wanted;
    std::vector<float> outer_gate;
    for (std::size_t t = 0; t < input.tokens; ++t) {
      if (outer.tokens[t].first == branch) {
        tokens.push_back(t);
        wanted.push_back(2);
        outer_gate.push_back(outer.tokens[t].first_gate);
      }
    }
    for (std::size_t t = 0; t < input.tokens; ++t) {
      if (outer.tokens[t].second == branch) {
        tokens.push_back(t);
        wanted.push_back(1);
        outer_gate.push_back(outer.tokens[t].second_gate);
      }
    }
    std::vector<float> inside(tokens.size() * inner_);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const auto row = std::span(inside).subspan(i * inner_, inner_);
      std::copy_n(gates.begin() + static_cast<std::ptrdiff_t>(tokens[i] * input.experts + branch * inner_), inner_,
                  row.begin());
      normalise(row);
    }
    const TopTwoRule rule{inner_rows(input.tokens, input.phase), options_.second, options_.threshold};
    const TopTwoResult result = gate_top_two(inside, inner_, wanted, rule, random);
    out.choices += result.choices;
    out.dropped += result.dropped;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const TopTwo& token = result.tokens[i];
      // One expert has the whole of its branch, two share it.
      const float whole = wanted[i] == 2 && inner_ > 1 ? token.first_gate : 1.0F;
      put(out, tokens[i], branch, token.first, outer_gate[i] * whole);
      put(out, tokens[i], branch, token.second, outer_gate[i] * token.second_gate);
      if (!out.wished.empty()) {
        place(out.wished, tokens[i], branch, token.first_wish);
        place(out.wished, tokens[i], branch, token.second_wish);
      }
    }
  }

  /// The token's first empty slot takes the expert; absent where there is none to take.
  std::optional<std::size_t> place(std::span<ExpertIndex> slots, std::size_t token, std::size_t branch,
                                   std::optional<std::size_t> expert) const {
    if (!expert) {
      return std::nullopt;
    }
    std::size_t slot = token * kMostExperts;
    while (slots[slot] != kNoExpert) {
      ++slot;
    }
    slots[slot] = static_cast<ExpertIndex>(branch * inner_ + *expert);
    return slot;
  }

  void put(RoutedTokens& out, std::size_t token, std::size_t branch, std::optional<std::size_t> expert,
           float weight) const {
    const auto slot = place(out.experts, token, branch, expert);
    if (slot && !out.weights.empty()) {
      out.weights[*slot] = weight;
    }
  }

  [[nodiscard]] std::size_t outer_rows(std::size_t tokens, RouterPhase phase) const {
    const double factor =
        phase == RouterPhase::kTraining ? options_.training_capacity_factor : options_.capacity_factor;
    const double even = static_cast<double>(tokens) / static_cast<double>(branches_);
    return std::min(std::max(static_cast<std::size_t>(factor * even), options_.least_rows), tokens);
  }
  [[nodiscard]] std::size_t inner_rows(std::size_t tokens, RouterPhase phase) const {
    const double even = static_cast<double>(outer_rows(tokens, phase)) / static_cast<double>(inner_);
    return std::max(static_cast<std::size_t>(options_.inner_capacity_factor * even), options_.least_rows);
  }

  HierarchicalOptions options_;
  std::size_t branches_;
  std::size_t inner_ = 1;
};

}  // namespace

RouterEntry hierarchical_router() {
  return router_entry<HierarchicalOptions, HierarchicalRouter>(
      "hierarchical", "", "two levels: branches of experts first, then experts inside, each with capacity",
      "Shazeer et al. 2017, appendix B; mesh-tensorflow, transformer_moe_layer_v2");
}

}  // namespace moesim
