#include <algorithm>
#include <cmath>

#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/entry.hpp"
#include "workloads/routing/routers/gate.hpp"

namespace moesim {

namespace {

enum class Policy { kGreedy, kSampled };

}  // namespace

template <>
struct EnumNames<Policy> {
  static constexpr auto names =
      std::to_array<std::pair<Policy, std::string_view>>({{Policy::kGreedy, "greedy"}, {Policy::kSampled, "sampled"}});
};

namespace {

struct RoutingNetworkOptions {
  std::size_t depth = 3;
  double pass_logit = 0.0;
  double task_spread = 1.0;
  Policy policy = Policy::kGreedy;

  template <class F>
  static void describe(F& f) {
    f.optional("depth", &RoutingNetworkOptions::depth, "Recursion steps, each of which applies one block or PASSes",
               Rules::between(1, 64));
    f.optional("pass_logit", &RoutingNetworkOptions::pass_logit, "Of PASS, beside the blocks' logits",
               Rules::between(-100, 100));
    f.optional("task_spread", &RoutingNetworkOptions::task_spread,
               "Standard deviation of what task and step add to a block's logit", Rules::between(0, 100));
    f.optional("policy", &RoutingNetworkOptions::policy, "The best action, or one drawn from the softmax of logits");
  }
};

/// At each of `depth` steps the router picks one block or PASS, which applies none; the logits are the token's scores
/// plus a table of (task, step, block) that stands for what a router learns per task. Slot r is what step r applied:
/// the same block may come twice, empty slots are PASS.
class RoutingNetwork final : public TokenRouter {
 public:
  RoutingNetwork(const RoutingNetworkOptions& options, const RouterContext& context)
      : options_(options), seed_(context.seed) {}

  void route(const RouterInput& input, RandomStream& random, RoutedTokens& out) const override {
    out.reset(input, options_.depth);
    std::vector<float> logits(input.experts + 1);
    for (std::size_t t = 0; t < input.tokens; ++t) {
      const std::uint32_t task = input.tasks.empty() ? 0 : input.tasks[t];
      for (std::size_t step = 0; step < options_.depth; ++step) {
        RandomStream table(seed_, "router.task", (std::uint64_t{task} << 16 | step) << 16 | input.layer);
        for (std::size_t e = 0; e < input.experts; ++e) {
          const double learnt = options_.task_spread * table.normal();
          logits[e] = input.scores[t * input.experts + e] + static_cast<float>(learnt);
        }
        logits[input.experts] = static_cast<float>(options_.pass_logit);
        softmax(logits, logits);
        const std::size_t action = options_.policy == Policy::kGreedy ? best_expert(logits) : draw(logits, random);
        if (action == input.experts) {
          continue;
        }
        ++out.choices;
        out.experts[t * out.slots + step] = static_cast<ExpertIndex>(action);
        if (!out.weights.empty()) {
          out.weights[t * out.slots + step] = 1.0F;
        }
      }
    }
  }

 private:
  static std::size_t draw(std::span<const float> probabilities, RandomStream& random) {
    double left = random.uniform();
    std::size_t action = 0;
    while (action + 1 < probabilities.size() && left >= probabilities[action]) {
      left -= probabilities[action++];
    }
    return action;
  }

  RoutingNetworkOptions options_;
  std::uint64_t seed_;
};

}  // namespace

RouterEntry routing_network_router() {
  return router_entry<RoutingNetworkOptions, RoutingNetwork>(
      "routing-network", "",
      "by task, one block or PASS at each step of a recursion; random tables stand for what it learns",
      "Rosenbaum, Klinger and Riemer 2017, arXiv 1711.01239 (abstract; PASS and tasks as remembered)");
}

}  // namespace moesim
