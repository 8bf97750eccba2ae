#pragma once

#include "workloads/routing/expert_sampler.hpp"
#include "workloads/routing/routers/router.hpp"

namespace moesim {

/// Choices that scores have no part in: drawn with fixed inclusion probabilities. Weights 1/k.
class DrawnRouter : public TokenRouter {
 public:
  void route(const RouterInput& input, RandomStream& random, RoutedTokens& out) const override;

 protected:
  DrawnRouter(std::size_t k, const RouterContext& context) : k_(k) {
    limit_ =
        context.groups_per_token < context.groups ? GroupLimit{context.groups, context.groups_per_token} : GroupLimit{};
  }
  void add_layer(std::span<const double> inclusion) { samplers_.emplace_back(inclusion, k_, limit_); }
  [[nodiscard]] std::size_t k() const { return k_; }

 private:
  std::size_t k_;
  GroupLimit limit_;
  std::vector<ExpertSampler> samplers_;  ///< one for all layers, or one a layer
};

}  // namespace moesim
