#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <span>

#include "sim/core/error.hpp"
#include "workloads/routing/fit.hpp"
#include "workloads/routing/fit_loads.hpp"
#include "workloads/routing/load_levels.hpp"
#include "workloads/routing/statistics.hpp"

namespace moesim {

namespace {

constexpr std::size_t kModels = 64;          ///< imaginary models per evaluation: a mean over 64·layers
constexpr std::uint64_t kFirstModel = 1000;  ///< their seeds, away from those that users choose

/// Max/mean over `ranks` contiguous blocks, in the mean over layers.
double mean_max_over_mean(std::span<const double> loads, std::size_t experts, std::size_t ranks) {
  const std::size_t layers = loads.size() / experts;
  double sum = 0.0;
  for (std::size_t layer = 0; layer < layers; ++layer) {
    sum += max_over_mean(rank_loads(loads.subspan(layer * experts, experts), ranks));
  }
  return sum / static_cast<double>(layers);
}

double generated_max_over_mean(const GeneratorParameters& parameters, const RoutingShape& shape, std::size_t ranks,
                               std::size_t models) {
  if (!parameters.popularity.empty()) {
    models = 1;  // there is but one
  }
  double sum = 0.0;
  for (std::size_t model = 0; model < models; ++model) {
    sum += mean_max_over_mean(draw_inclusion(parameters, shape, kFirstModel + model), shape.experts, ranks);
  }
  return sum / static_cast<double>(models);
}

/// Moments of one layer's log counts.
struct LayerMoments {
  double within = 0.0;      ///< variance within blocks
  double between = 0.0;     ///< variance of block means, less what the variance within adds
  double neighbours = 0.0;  ///< mean product of neighbouring blocks' means
};

LayerMoments moments(std::span<const double> counts, std::size_t blocks) {
  const std::size_t size = counts.size() / blocks;
  constexpr double kUnseen = 0.5;  // an expert that was never chosen
  std::vector<double> logs;
  double noise = 0.0;
  for (const double count : counts) {
    const double seen = std::max(count, kUnseen);
    logs.push_back(std::log(seen));
    noise += 1.0 / seen / static_cast<double>(counts.size());  // variance of the log of a Poisson count
  }
  const double mean = std::accumulate(logs.begin(), logs.end(), 0.0) / static_cast<double>(logs.size());
  LayerMoments result;
  double previous = 0.0;
  for (std::size_t b = 0; b < blocks; ++b) {
    const auto block = std::span(logs).subspan(b * size, size);
    const double centre = std::accumulate(block.begin(), block.end(), 0.0) / static_cast<double>(size);
    for (const double value : block) {
      result.within += (value - centre) * (value - centre);
    }
    if (blocks > 1) {
      result.between += (centre - mean) * (centre - mean) / static_cast<double>(blocks);
      if (b > 0) {
        result.neighbours += previous * (centre - mean) / static_cast<double>(blocks - 1);
      }
      previous = centre - mean;
    }
  }
  result.within = result.within / static_cast<double>(logs.size() - blocks) - noise;
  result.within = std::max(result.within, 0.0);
  result.between = std::max(0.0, result.between - (result.within + noise) / static_cast<double>(size));
  return result;
}

/// Var(mean)/σ² of n values in a row whose neighbours are correlated by c.
double variance_of_mean(double c, std::size_t n) {
  const auto count = static_cast<double>(n);
  double sum = 1.0;
  double power = 1.0;
  for (std::size_t i = 1; i < n; ++i) {
    power *= c;
    sum += 2.0 * (1.0 - static_cast<double>(i) / count) * power;
  }
  return sum / count;
}

/// Bisection for an increasing function.
template <class Function>
double solve_increasing(double low, double high, double target, const Function& function) {
  constexpr int kHalvings = 14;
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = 0.5 * (low + high);
    (function(middle) < target ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

/// Few enough ranks that blocks decide over their load, not single experts.
std::size_t ranks_to_match(const GeneratorParameters& parameters) {
  constexpr std::size_t kRanks = 8;
  return parameters.blocks % kRanks == 0 ? kRanks : parameters.blocks;
}

void fit_tail_and_blocks(GeneratorParameters& parameters, const CountTrace& counts) {
  const RoutingShape shape{
      .tokens = 0, .layers = counts.layers, .k = parameters.experts_per_token, .experts = counts.experts};
  const double expert_target = mean_max_over_mean(counts.counts, counts.experts, counts.experts);
  const std::vector<double> block_spread = parameters.block_spread;
  constexpr int kRounds = 3;  // skew moves the ranks a little, blocks the experts a little
  constexpr std::size_t kQuick = 16;
  for (int round = 0; round < kRounds; ++round) {
    GeneratorParameters trial = parameters;
    if (parameters.blocks > 1) {
      const std::size_t ranks = ranks_to_match(parameters);
      const double target = mean_max_over_mean(counts.counts, counts.experts, ranks);
      constexpr double kMostFactor = 2.5;
      const double factor = solve_increasing(0.0, kMostFactor, target, [&](double f) {
        for (std::size_t layer = 0; layer < block_spread.size(); ++layer) {
          trial.block_spread[layer] = f * block_spread[layer];
        }
        return generated_max_over_mean(trial, shape, ranks, kQuick);
      });
      for (std::size_t layer = 0; layer < block_spread.size(); ++layer) {
        parameters.block_spread[layer] = rounded(factor * block_spread[layer]);
      }
      trial = parameters;
    }
    constexpr double kMostSkew = 0.8;
    parameters.skew = rounded(solve_increasing(-kMostSkew, kMostSkew, expert_target, [&](double skew) {
      trial.skew = skew;
      return generated_max_over_mean(trial, shape, counts.experts, kQuick);
    }));
  }
}

}  // namespace

std::vector<FitCheck> check_popularity(const CountTrace& counts, const GeneratorParameters& parameters,
                                       std::size_t models) {
  const RoutingShape shape{
      .tokens = 0, .layers = counts.layers, .k = parameters.experts_per_token, .experts = counts.experts};
  std::vector<FitCheck> checks;
  constexpr std::array<std::size_t, 4> kRanks = {8, 16, 32, 64};
  const auto add = [&](std::string quantity, std::size_t ranks) {
    checks.push_back({std::move(quantity), rounded(mean_max_over_mean(counts.counts, counts.experts, ranks)),
                      rounded(generated_max_over_mean(parameters, shape, ranks, models))});
  };
  add("max/mean over experts, mean over layers", counts.experts);
  for (const std::size_t ranks : kRanks) {
    if (counts.experts % ranks == 0 && counts.experts > ranks) {
      add(fmt::format("max/mean over {} ranks, mean over layers", ranks), ranks);
    }
  }
  return checks;
}

double rounded(double value) {
  constexpr double kScale = 1e4;
  return std::round(value * kScale) / kScale;
}

GeneratorParameters fit_counts(const CountTrace& counts, const FitOptions& options) {
  if (!options.k) {
    throw ConfigError({counts.name, {}}, "expected k beside counts, which do not tell it, found none");
  }
  GeneratorParameters parameters;
  parameters.name = options.name;
  parameters.experts = counts.experts;
  parameters.experts_per_token = *options.k;
  parameters.blocks = options.blocks > 0 && counts.experts % options.blocks == 0 && counts.experts > options.blocks
                          ? options.blocks
                          : 1;
  parameters.correlation = options.correlation;
  double neighbours = 0.0;
  double between = 0.0;
  for (std::size_t layer = 0; layer < counts.layers; ++layer) {
    const LayerMoments layer_moments = moments(counts.layer(layer), parameters.blocks);
    parameters.spread.push_back(rounded(std::sqrt(layer_moments.within)));
    parameters.block_spread.push_back(rounded(std::sqrt(layer_moments.between)));
    neighbours += layer_moments.neighbours;
    between += layer_moments.between;
  }
  if (parameters.blocks > 1 && between > 0.0) {
    // Taking off the layer's own mean lowers both: variance σ²(1 − m) and neighbours' product σ²(c − m), with m the
    // variance of the mean over σ²; the ratio rises with c.
    constexpr double kMost = 0.98;
    const double c = solve_increasing(0.0, kMost, neighbours / between, [&](double trial) {
      const double m = variance_of_mean(trial, parameters.blocks);
      return (trial - m) / (1.0 - m);
    });
    parameters.block_correlation = rounded(c);
    const double unbiased = 1.0 / std::sqrt(1.0 - variance_of_mean(c, parameters.blocks));
    for (double& spread : parameters.block_spread) {
      spread = rounded(spread * unbiased);
    }
  }
  fit_tail_and_blocks(parameters, counts);
  if (options.popularity == FitPopularity::kEachExpert) {
    const DesignEffects independent(LoadLevels(counts.experts).count(), 1.0);
    parameters.popularity = fitted_loads(counts, *options.k, independent);
  }
  GeneratorProvenance provenance;
  provenance.recording = std::filesystem::path(counts.name).filename().string();
  provenance.source = options.source;
  provenance.licence = options.licence;
  provenance.tokens = std::accumulate(counts.layer(0).begin(), counts.layer(0).end(), 0.0) /
                      static_cast<double>(parameters.experts_per_token);
  provenance.correlation = options.correlation_source;
  provenance.checks = check_popularity(counts, parameters, kModels);
  parameters.provenance = std::move(provenance);
  return parameters;
}

}  // namespace moesim
