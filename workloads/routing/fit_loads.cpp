#include "workloads/routing/fit_loads.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "workloads/routing/load_levels.hpp"

namespace moesim {

namespace {

std::vector<double> shares_of(std::span<const double> counts) {
  const double total = std::accumulate(counts.begin(), counts.end(), 0.0);
  std::vector<double> shares(counts.begin(), counts.end());
  for (double& share : shares) {
    share /= total > 0.0 ? total : 1.0;
  }
  return shares;
}

/// c such that Σ max(0, V − c·N) = Σ (V − N) over layers; that falls with c.
double factor_for_mean(std::span<const double> variances, std::span<const double> noises) {
  double target = 0.0;
  double most = 1.0;
  for (std::size_t layer = 0; layer < variances.size(); ++layer) {
    target += variances[layer] - noises[layer];
    if (noises[layer] > 0.0) {
      most = std::max(most, variances[layer] / noises[layer]);  // from there on nothing is left
    }
  }
  const auto left = [&](double c) {
    double sum = 0.0;
    for (std::size_t layer = 0; layer < variances.size(); ++layer) {
      sum += std::max(0.0, variances[layer] - c * noises[layer]);
    }
    return sum;
  };
  double least = 1.0;
  constexpr int kHalvings = 50;
  for (int i = 0; i < kHalvings && left(least) > target; ++i) {
    const double middle = 0.5 * (least + most);
    (left(middle) > target ? least : most) = middle;
    if (most - least < 1e-9 * most) {
      least = most;
    }
  }
  return least;
}

}  // namespace

DesignEffects design_effects(const GeneratedSource& source, std::span<const double> inclusion, const TokenBatch& batch,
                             const TaskPool& pool) {
  const RoutingShape shape = source.shape();
  const LoadLevels levels(shape.experts);
  const double choices = static_cast<double>(batch.tokens.size() * shape.k);
  std::vector<double> found(levels.count(), 0.0);
  std::vector<double> independent(levels.count(), 0.0);
  // So many layers in all that 7 differences between 8 blocks in each tell the effect to √(2/(7·96)) = 5 %.
  constexpr std::size_t kLayers = 96;
  constexpr std::size_t kFewestDraws = 2;
  const std::size_t draws = std::max(kFewestDraws, (kLayers + shape.layers - 1) / shape.layers);
  for (std::size_t draw = 0; draw < draws; ++draw) {
    const StepRouting step = source.draw(batch, draw + 1, pool);
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      std::vector<double> expected(inclusion.begin() + static_cast<std::ptrdiff_t>(layer * shape.experts),
                                   inclusion.begin() + static_cast<std::ptrdiff_t>((layer + 1) * shape.experts));
      for (double& share : expected) {
        share /= static_cast<double>(shape.k);
      }
      std::vector<double> difference(shape.experts, 0.0);
      for (const ExpertIndex expert : step.layer(layer)) {
        difference[expert] += 1.0 / choices;
      }
      std::transform(difference.begin(), difference.end(), expected.begin(), difference.begin(), std::minus<>{});
      const std::vector<double> variances = levels.variances(difference);
      const std::vector<double> sampling = levels.sampling(expected, choices);
      for (std::size_t level = 0; level < levels.count(); ++level) {
        found[level] += variances[level];
        independent[level] += sampling[level];
      }
    }
  }
  DesignEffects effects;
  for (std::size_t level = 0; level < levels.count(); ++level) {
    effects.push_back(independent[level] > 0.0 ? found[level] / independent[level] : 1.0);
  }
  return effects;
}

std::vector<std::vector<double>> fitted_loads(const CountTrace& counts, std::size_t k, const DesignEffects& effects) {
  const LoadLevels levels(counts.experts);
  std::vector<std::vector<double>> variances(levels.count());  // [levels, layers]
  std::vector<std::vector<double>> noises(levels.count());
  for (std::size_t layer = 0; layer < counts.layers; ++layer) {
    const auto row = counts.layer(layer);
    const std::vector<double> shares = shares_of(row);
    const std::vector<double> recorded = levels.variances(shares);
    const std::vector<double> sampling = levels.sampling(shares, std::accumulate(row.begin(), row.end(), 0.0));
    for (std::size_t level = 0; level < levels.count(); ++level) {
      variances[level].push_back(recorded[level]);
      noises[level].push_back(effects.at(level) * sampling[level]);
    }
  }
  std::vector<std::vector<double>> kept(counts.layers);  // [layers, levels]
  for (std::size_t level = 0; level < levels.count(); ++level) {
    const double factor = factor_for_mean(variances[level], noises[level]);
    for (std::size_t layer = 0; layer < counts.layers; ++layer) {
      const double variance = variances[level][layer];
      const double left = variance - factor * noises[level][layer];
      kept[layer].push_back(left > 0.0 ? std::sqrt(left / variance) : 0.0);
    }
  }
  std::vector<std::vector<double>> loads;
  for (std::size_t layer = 0; layer < counts.layers; ++layer) {
    constexpr double kDigits = 1e6;
    std::vector<double>& row = loads.emplace_back(levels.drawn_to_mean(shares_of(counts.layer(layer)), kept[layer]));
    for (double& share : row) {
      share = std::round(static_cast<double>(k) * share * kDigits) / kDigits;
    }
  }
  return loads;
}

std::vector<std::vector<double>> fitted_loads(const CountTrace& counts, const RoutingShape& shape,
                                              const RoutingCorrelation& correlation, const TokenBatch& batch,
                                              const TaskPool& pool) {
  std::vector<std::vector<double>> loads =
      fitted_loads(counts, shape.k, DesignEffects(LoadLevels(counts.experts).count(), 1.0));
  constexpr int kRounds = 2;  // effects are those of the popularity that they lead to
  for (int round = 0; round < kRounds; ++round) {
    const std::vector<double> inclusion = inclusion_from_loads(loads, shape.k);
    const GeneratedSource source(shape, inclusion, correlation, GroupLimit{}, 1, "");
    loads = fitted_loads(counts, shape.k, design_effects(source, inclusion, batch, pool));
  }
  return loads;
}

}  // namespace moesim
