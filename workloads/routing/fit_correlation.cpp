#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "workloads/routing/correlation.hpp"
#include "workloads/routing/fit.hpp"
#include "workloads/routing/pairs.hpp"
#include "workloads/routing/same_path.hpp"

namespace moesim {

namespace {

using Entries = std::span<const CorrelationStatistics::Entry>;

double first_of(Entries entries) { return entries.empty() ? 0.0 : entries.front().value; }

/// Slope of log value over distance, by least squares; 0 where fewer than two values are far enough from nothing.
double log_slope(Entries entries) {
  constexpr double kLeast = 0.05;  // of the first
  double n = 0.0;
  double x = 0.0;
  double y = 0.0;
  double xx = 0.0;
  double xy = 0.0;
  for (const auto& entry : entries) {
    if (entry.value <= kLeast * first_of(entries) || entry.value <= 0.0) {
      break;
    }
    const auto distance = static_cast<double>(entry.distance);
    const double value = std::log(entry.value);
    n += 1.0;
    x += distance;
    y += value;
    xx += distance * distance;
    xy += distance * value;
  }
  return n < 2.0 ? 0.0 : (n * xy - x * y) / (n * xx - x * x);
}

double largest_of(Entries entries) {
  double largest = 0.0;
  for (const auto& entry : entries) {
    largest = std::max(largest, entry.value);
  }
  return largest;
}

/// Least association that is more than chance: three standard deviations of χ² with (E − 1)² degrees of freedom, over
/// T·k².
double least_association(const RoutingShape& shape, std::size_t tokens) {
  constexpr double kLeast = 2e-3;
  const auto k = static_cast<double>(shape.k);
  const double chance = 3.0 * std::sqrt(2.0) * static_cast<double>(shape.experts - 1);
  return std::max(kLeast, chance / (static_cast<double>(tokens) * k * k));
}

/// Moves repeat, topic and topic_tokens one by one as long as that lowers the cost, by ever smaller steps.
template <class Cost>
double descend(RoutingCorrelation& correlation, const Cost& cost) {
  struct Move {
    double repeat;
    double topic;
    double topic_octaves;
  };
  constexpr std::array<Move, 6> kMoves = {
      {{0.2, 0, 0}, {-0.2, 0, 0}, {0, 0.2, 0}, {0, -0.2, 0}, {0, 0, 2.0}, {0, 0, -2.0}}};
  constexpr double kSmallest = 0.02;
  double best = cost(correlation);
  for (double step = 1.0; step > kSmallest;) {
    bool better = false;
    for (const Move& move : kMoves) {
      RoutingCorrelation trial = correlation;
      trial.repeat = std::clamp(trial.repeat + step * move.repeat, 0.0, 0.95);
      trial.topic = std::clamp(trial.topic + step * move.topic, 0.0, 1.0 - trial.repeat);
      trial.topic_tokens = std::clamp(trial.topic_tokens * std::exp2(step * move.topic_octaves), 1.0, 256.0);
      const double value = cost(trial);
      if (value < best) {
        best = value;
        correlation = trial;
        better = true;
      }
    }
    step = better ? step : 0.5 * step;
  }
  return best;
}

/// Repeats and passages: tokens on the same path share the slots that it decides for both, others as many as by chance.
void fit_along(RoutingCorrelation& correlation, const GeneratedSource& source, Entries overlap) {
  const double decided = correlation.shared * source.decided_share();  // for both of two tokens
  correlation.repeat = 0.0;
  correlation.topic = 0.0;
  if (decided <= 0.0 || largest_of(overlap) <= 0.0) {
    return;
  }
  const auto cost = [&](const RoutingCorrelation& trial) {
    double sum = 0.0;
    for (const auto& entry : overlap) {
      const double difference = decided * same_path(trial, entry.distance) - entry.value;
      sum += difference * difference;
    }
    return sum;
  };
  double best = std::numeric_limits<double>::infinity();
  for (const std::size_t points : {1, 2, 4, 8, 16}) {
    RoutingCorrelation trial = correlation;
    trial.repeat = 0.1;
    trial.topic = 0.3;
    trial.topic_points = points;
    trial.topic_tokens = 16.0;
    const double value = descend(trial, cost);
    if (value < best) {
      best = value;
      correlation = trial;
    }
  }
}

/// Root of the mean square of log(generated/recorded association) over distances.
double distance_between(Entries generated, Entries recorded, double least) {
  double sum = 0.0;
  for (std::size_t i = 0; i < recorded.size(); ++i) {
    const double ratio = std::max(generated[i].value, least) / std::max(recorded[i].value, least);
    sum += std::log(ratio) * std::log(ratio) / static_cast<double>(recorded.size());
  }
  return std::sqrt(sum);
}

/// Correlation along sequences and across layers; of a single layer, whose neighbours tell nothing about points, the
/// association of its own pairs (pairs.hpp), which points make in the same way.
CorrelationStatistics statistics_of(const StepRouting& routing, std::span<const std::size_t> starts,
                                    const TaskPool& pool) {
  constexpr std::size_t kMostExperts = 4096;  // tables of experts squared
  CorrelationStatistics result = correlation_statistics(routing, starts);
  if (routing.shape.layers == 1 && routing.shape.k > 1 && routing.shape.experts <= kMostExperts) {
    result.association = {{1, pair_statistics(routing, 0, pool).layers.front().within}};
  }
  return result;
}

/// What a fit of correlation is held against: the recording's tokens, and a model of its loads.
struct Target {
  const GeneratedSource& model;
  const TokenBatch& batch;
  std::span<const std::size_t> starts;
  const CorrelationStatistics& recorded;
  const TaskPool& pool;
};

/// Association of what is generated, in the mean over draws: of layers far apart it is what a few passages happen to
/// bring, and the best of several trials would be the luckiest.
std::vector<CorrelationStatistics::Entry> mean_association(const GeneratedSource& source, const Target& target) {
  constexpr std::uint64_t kDraws = 3;
  std::vector<CorrelationStatistics::Entry> mean;
  for (std::uint64_t draw = 1; draw <= kDraws; ++draw) {
    const StepRouting step = source.draw(target.batch, draw, target.pool);
    const auto entries = statistics_of(step, target.starts, target.pool).association;
    mean.resize(entries.size());
    for (std::size_t i = 0; i < entries.size(); ++i) {
      mean[i].distance = entries[i].distance;
      mean[i].value += entries[i].value / static_cast<double>(kDraws);
    }
  }
  return mean;
}

/// Points and turnover, with a share of slots that follow their points: tokens on n points of k·(decided share)
/// experts each, at random, have the association E²·decided⁴/(n·k²) within a layer and between layers that keep the
/// point, and (1 − turnover)^(2d) of it d layers further: N_ef − x_ef is (T/n)·(c − μ), c the points with both experts,
/// of mean and variance μ. What few tokens and passages add to both is in the generated routing too, which is why they
/// are set by comparison with that, beside repeats and passages. Layers that have less in common than n can be raised
/// for have a smaller share. Returns how far the associations are from the recorded ones.
double fit_with_share(RoutingCorrelation& correlation, const Target& target, double least_share) {
  constexpr double kFewest = 0.25;
  constexpr double kMost = 16.0;
  constexpr double kMostTurnover = 0.5;
  const RoutingShape shape = target.model.shape();
  const Entries recorded = target.recorded.association;
  const double least = least_association(shape, target.batch.tokens.size());
  const double experts_per_choice = static_cast<double>(shape.experts) / static_cast<double>(shape.k * shape.k);
  const double start = experts_per_choice * std::pow(correlation.shared, 4.0) / first_of(recorded);
  correlation.points_per_expert = std::clamp(start, kFewest, kMost);
  const double slope = log_slope(recorded);
  correlation.turnover = std::clamp(1.0 - std::exp(0.5 * slope), 0.0, kMostTurnover);
  constexpr int kRounds = 6;
  RoutingCorrelation best = correlation;
  double nearest = std::numeric_limits<double>::infinity();
  for (int round = 0; round <= kRounds; ++round) {
    const GeneratedSource trial = target.model.with(correlation);
    fit_along(correlation, trial, target.recorded.overlap);
    const std::vector<CorrelationStatistics::Entry> generated = mean_association(trial.with(correlation), target);
    const double distance = distance_between(generated, recorded, least);
    if (distance < nearest) {
      nearest = distance;
      best = correlation;
    }
    const double ratio = std::max(first_of(generated), least) / first_of(recorded);
    if (correlation.points_per_expert >= kMost && ratio > 1.0) {
      correlation.shared = std::clamp(correlation.shared * std::pow(ratio, -0.25), least_share, 1.0);
    } else {
      correlation.points_per_expert = std::clamp(correlation.points_per_expert * ratio, kFewest, kMost);
    }
    correlation.turnover = std::clamp(correlation.turnover + 0.5 * (log_slope(generated) - slope), 0.0, kMostTurnover);
  }
  correlation = best;
  return nearest;
}

/// All slots follow their points, or fewer of them, where layers far apart then have less in common and the recording
/// asks for it: what tokens of a passage share they share in all layers. Tokens of a sequence set a limit to that.
/// Layers that have nothing in common each have points of their own.
void fit_shares(RoutingCorrelation& correlation, const Target& target) {
  constexpr double kMostAlike = 0.9;  // tokens of a sequence on the same path
  // Two tokens on one path choose alike in slots where both follow it.
  const double least_share = std::sqrt(std::min(1.0, largest_of(target.recorded.overlap) / kMostAlike));
  const RoutingShape shape = target.model.shape();
  if (first_of(target.recorded.association) < least_association(shape, target.batch.tokens.size())) {
    correlation.points_per_expert = 16.0;
    correlation.turnover = 1.0;
    correlation.shared = least_share;
    fit_along(correlation, target.model.with(correlation), target.recorded.overlap);
    return;
  }
  constexpr double kNear = 0.15;
  double best = std::numeric_limits<double>::infinity();
  for (const double share : {1.0, 0.84, 0.71, 0.59, 0.5}) {
    if (best < kNear || (share < least_share && share < 1.0)) {
      break;
    }
    RoutingCorrelation trial = correlation;
    trial.shared = share;
    const double value = fit_with_share(trial, target, least_share);
    if (value < best) {
      best = value;
      correlation = trial;
    }
  }
}

/// Overlaps less those that sampling alone makes: below twice the standard deviation that independent tokens give,
/// √O/(k − O)/√T with O = Σ π_e² experts in common, whose number is close to Poisson's.
std::vector<CorrelationStatistics::Entry> above_noise(Entries overlap, const StepRouting& routing) {
  const RoutingShape& shape = routing.shape;
  const auto tokens = static_cast<double>(shape.tokens);
  std::vector<double> counts(shape.experts, 0.0);
  for (const ExpertIndex expert : routing.layer(0)) {
    counts[expert] += 1.0;
  }
  double common = 0.0;
  for (const double count : counts) {
    common += count / tokens * (count / tokens);
  }
  const double rest = static_cast<double>(shape.k) - common;
  const double deviation = rest > 0.0 ? std::sqrt(common / tokens) / rest : 1.0;
  std::vector<CorrelationStatistics::Entry> result(overlap.begin(), overlap.end());
  for (auto& entry : result) {
    entry.value = entry.value > 2.0 * deviation ? entry.value : 0.0;
  }
  return result;
}

}  // namespace

RoutingCorrelation fit_correlation(const TraceSample& sample, std::span<const double> inclusion, const TaskPool& pool) {
  RoutingCorrelation correlation{.shared = 1.0, .layout = PointLayout::kTable};
  CorrelationStatistics recorded = statistics_of(sample.routing, sample.starts, pool);
  recorded.overlap = above_noise(recorded.overlap, sample.routing);
  const TokenBatch batch = batch_of(sample.routing.shape.tokens, sample.starts);
  const GeneratedSource model(sample.routing.shape, inclusion, correlation, GroupLimit{}, 1, "");
  fit_shares(correlation, {model, batch, sample.starts, recorded, pool});
  for (double* value : {&correlation.points_per_expert, &correlation.turnover, &correlation.repeat, &correlation.topic,
                        &correlation.topic_tokens, &correlation.shared}) {
    *value = rounded(*value);
  }
  return correlation;
}

}  // namespace moesim
