#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "workloads/routing/expert_sampler.hpp"
#include "workloads/routing/source.hpp"

namespace moesim {

/// Draws tokens independently of each other, per layer, with given inclusion probabilities: what recorded counts, a
/// power law and uniform routing have in common. Nothing of sequences or of other layers shows in the choices.
class DrawnSource final : public RoutingSource {
 public:
  /// `inclusion` [layers, experts], Σ over a layer = k.
  DrawnSource(RoutingShape shape, std::span<const double> inclusion, GroupLimit limit, std::string provenance);

  /// π_e = k·c_e/Σc. Throws ModelError where that passes 1: the counts are of a model with a smaller k.
  static std::unique_ptr<DrawnSource> from_counts(CountTrace counts, std::size_t k, GroupLimit limit);
  /// All experts alike.
  static std::unique_ptr<DrawnSource> uniform(RoutingShape shape, GroupLimit limit);

  [[nodiscard]] RoutingShape shape() const override { return shape_; }
  [[nodiscard]] StepRouting draw(const TokenBatch& batch, std::uint64_t seed, const TaskPool& pool) const override;
  [[nodiscard]] std::optional<CountTrace> recorded_counts() const override { return counts_; }
  [[nodiscard]] std::string provenance() const override { return provenance_; }

 private:
  RoutingShape shape_;
  std::vector<ExpertSampler> samplers_;  ///< per layer, or one for all where all layers are alike
  std::optional<CountTrace> counts_;
  std::string provenance_;
};

/// Loads of one layer's experts by the power law that AIConfigurator measures under: with u uniform,
///   x = [(xmax^(1−α) − xmin^(1−α))·u + xmin^(1−α)]^(1/(1−α)),
/// its limit x = xmin·(xmax/xmin)^u at α = 1; α = 0 stands for balanced loads, all 1.
/// Source: ai-dynamo/aiconfigurator, collector's power-law logits.
std::vector<double> power_law_loads(double alpha, double smallest, double largest, std::size_t experts,
                                    RandomStream& random);

/// Perfect balance: in each layer the experts are dealt to the tokens like a shuffled deck of cards, over and over,
/// so that after any number of tokens no expert has more than one token above another (two where groups limit the
/// choice).
class BalancedSource final : public RoutingSource {
 public:
  BalancedSource(RoutingShape shape, GroupLimit limit) : shape_(shape), limit_(limit) {}

  [[nodiscard]] RoutingShape shape() const override { return shape_; }
  [[nodiscard]] StepRouting draw(const TokenBatch& batch, std::uint64_t seed, const TaskPool& pool) const override;
  [[nodiscard]] std::string provenance() const override;

 private:
  RoutingShape shape_;
  GroupLimit limit_;
};

}  // namespace moesim
