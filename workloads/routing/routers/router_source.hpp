#pragma once

#include <memory>
#include <string>

#include "workloads/routing/routers/router.hpp"
#include "workloads/routing/routers/score_source.hpp"
#include "workloads/routing/source.hpp"

namespace moesim {

/// Routing by a router: what it chooses for the scores of a step's tokens, with what it drops and pads.
class RouterSource final : public RoutingSource {
 public:
  struct Parts {
    std::string name;  ///< of the router
    std::unique_ptr<TokenRouter> router;
    std::shared_ptr<const TokenModel> model;  ///< kept alive for the router; absent where scores come from a file
    std::unique_ptr<ScoreSource> scores;
    std::vector<float> bias;  ///< [layers, experts], for the selection only; empty: none
    RouterPhase phase = RouterPhase::kInference;
    RoutingShape shape;    ///< k is the model's; a step's may differ
    std::string training;  ///< ", trained for …", for the provenance
  };
  explicit RouterSource(Parts parts) : parts_(std::move(parts)) {}

  [[nodiscard]] RoutingShape shape() const override { return parts_.shape; }
  /// The step's k is the most experts that any token has. Throws ModelError where that is more than can be held.
  [[nodiscard]] StepRouting draw(const TokenBatch& batch, std::uint64_t seed, const TaskPool& pool) const override;
  [[nodiscard]] std::string provenance() const override;

 private:
  Parts parts_;
};

}  // namespace moesim
