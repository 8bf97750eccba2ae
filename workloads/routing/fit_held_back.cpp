#include <fmt/format.h>

#include <array>
#include <cmath>

#include "sim/core/error.hpp"
#include "workloads/routing/correlation.hpp"
#include "workloads/routing/fit.hpp"
#include "workloads/routing/pairs.hpp"
#include "workloads/routing/statistics.hpp"

namespace moesim {

namespace {

/// What one part of a recording, or generated routing, looks like.
struct Figures {
  std::vector<std::pair<std::string, double>> values;
  std::vector<double> layers;  ///< max/mean over experts of each

  void add(std::string quantity, double value) { values.emplace_back(std::move(quantity), value); }
};

void add_loads(Figures& figures, const CountTrace& counts) {
  const auto mean_over_ranks = [&](std::size_t ranks) {
    double sum = 0.0;
    for (std::size_t layer = 0; layer < counts.layers; ++layer) {
      sum += max_over_mean(rank_loads(counts.layer(layer), ranks));
    }
    return sum / static_cast<double>(counts.layers);
  };
  figures.add("max/mean over experts, mean over layers", mean_over_ranks(counts.experts));
  for (const std::size_t ranks : std::array<std::size_t, 4>{8, 16, 32, 64}) {
    if (counts.experts % ranks == 0 && ranks < counts.experts) {
      figures.add(fmt::format("max/mean over {} ranks, mean over layers", ranks), mean_over_ranks(ranks));
    }
  }
  for (std::size_t layer = 0; layer < counts.layers; ++layer) {
    figures.layers.push_back(max_over_mean(counts.layer(layer)));
  }
}

void add_pairs(Figures& figures, const TraceSample& sample, const TaskPool& pool) {
  constexpr std::size_t kMostExperts = 1024;  // tables of experts squared
  const std::size_t layers = sample.routing.shape.layers;
  if (sample.routing.shape.experts <= kMostExperts) {
    double within = 0.0;
    double to_next = 0.0;
    for (const PairAssociation& layer : pair_statistics(sample.routing, 0, pool).layers) {
      within += layer.within / static_cast<double>(layers);
      to_next += layer.to_next / static_cast<double>(std::max<std::size_t>(1, layers - 1));
    }
    figures.add("pairs in a layer, association, mean over layers", within);
    if (layers > 1) {
      figures.add("pairs of a layer and the next, association", to_next);
    }
  }
  const CorrelationStatistics correlation = correlation_statistics(sample.routing, sample.starts);
  const auto shown = [](std::size_t distance) { return distance == 1 || distance == 8; };
  for (const auto& entry : correlation.overlap) {
    if (shown(entry.distance)) {
      figures.add(fmt::format("experts in common at a distance of {} tokens", entry.distance), entry.value);
    }
  }
  for (const auto& entry : correlation.association) {
    if (shown(entry.distance) && entry.distance > 1) {
      figures.add(fmt::format("pairs at a distance of {} layers, association", entry.distance), entry.value);
    }
  }
}

CountTrace counts_of_step(const StepRouting& step) {
  const RoutingShape& shape = step.shape;
  CountTrace counts{.layers = shape.layers,
                    .experts = shape.experts,
                    .counts = std::vector<double>(shape.layers * shape.experts, 0.0),
                    .file_layers = {},
                    .name = "generated",
                    .k = shape.k};
  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    counts.file_layers.push_back(layer);
    for (const ExpertIndex expert : step.layer(layer)) {
      counts.counts[layer * shape.experts + expert] += 1.0;
    }
  }
  return counts;
}

StepRouting generate(const GeneratorParameters& parameters, RoutingShape shape, const TokenBatch& batch,
                     const TaskPool& pool) {
  shape.tokens = 0;
  return generated_source(parameters, shape, GroupLimit{}, 1, "").draw(batch, 1, pool);
}

/// Mean over layers of |value/reference − 1|.
double deviation(std::span<const double> values, std::span<const double> reference) {
  double sum = 0.0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    sum += std::abs(values[i] / reference[i] - 1.0);
  }
  return sum / static_cast<double>(values.size());
}

std::vector<FitCheck> compare(const Figures& fitted, const Figures& held_back, const Figures& generated) {
  std::vector<FitCheck> checks;
  for (std::size_t i = 0; i < held_back.values.size(); ++i) {
    checks.push_back({held_back.values[i].first, rounded(held_back.values[i].second),
                      rounded(generated.values[i].second), rounded(fitted.values[i].second)});
  }
  checks.push_back({"a layer's max/mean over experts, deviation from the part held back", 0.0,
                    rounded(deviation(generated.layers, held_back.layers)),
                    rounded(deviation(fitted.layers, held_back.layers))});
  return checks;
}

CountTrace counts_of_ranges(const TokenTrace& trace, std::span<const TokenRange> ranges) {
  const RoutingShape& shape = trace.shape();
  CountTrace counts{.layers = shape.layers,
                    .experts = shape.experts,
                    .counts = std::vector<double>(shape.layers * shape.experts, 0.0),
                    .file_layers = {trace.file_layers().begin(), trace.file_layers().end()},
                    .name = trace.name(),
                    .k = shape.k};
  std::vector<ExpertIndex> row(shape.k);
  for (const TokenRange& range : ranges) {
    for (std::size_t token = range.begin; token < range.end; ++token) {
      for (std::size_t layer = 0; layer < shape.layers; ++layer) {
        trace.read(token, layer, row);
        for (const ExpertIndex expert : row) {
          counts.counts[layer * shape.experts + expert] += 1.0;
        }
      }
    }
  }
  return counts;
}

/// The part that is fitted and the one that is held back.
template <class T>
struct Halves {
  T fitted;
  T held_back;
};

Halves<std::vector<TokenRange>> divide(const TokenTrace& trace, HoldBack how) {
  const std::size_t tokens = trace.shape().tokens;
  const auto starts = trace.sequence_starts();
  if (tokens < 2 || (how == HoldBack::kSequences && starts.size() < 2)) {
    throw ConfigError({trace.name(), {}}, "expected at least two tokens, or sequences, to hold one back; found one");
  }
  Halves<std::vector<TokenRange>> halves;
  if (how == HoldBack::kTime) {
    halves.fitted = {{0, tokens / 2}};
    halves.held_back = {{tokens / 2, tokens}};
    return halves;
  }
  for (std::size_t i = 0; i < starts.size(); ++i) {
    const TokenRange range{starts[i], i + 1 < starts.size() ? starts[i + 1] : tokens};
    (i % 2 == 0 ? halves.fitted : halves.held_back).push_back(range);
  }
  return halves;
}

std::vector<FitCheck> check_tokens(const TokenTrace& trace, const FitOptions& options, HoldBack how,
                                   const TaskPool& pool) {
  const auto halves = divide(trace, how);
  Halves<Figures> figures;
  const CountTrace counts = counts_of_ranges(trace, halves.fitted);
  const TraceSample sample = sample_of(trace, halves.fitted, kFitTokens);
  add_loads(figures.fitted, counts);
  add_pairs(figures.fitted, sample, pool);
  const GeneratorParameters parameters = fit_part(counts, sample, options, pool);

  TraceSample held_back = sample_of(trace, halves.held_back, kFitTokens);
  add_loads(figures.held_back, counts_of_ranges(trace, halves.held_back));
  add_pairs(figures.held_back, held_back, pool);
  held_back.routing =
      generate(parameters, trace.shape(), batch_of(held_back.routing.shape.tokens, held_back.starts), pool);
  Figures generated;
  add_loads(generated, counts_of_step(held_back.routing));
  add_pairs(generated, held_back, pool);
  return compare(figures.fitted, figures.held_back, generated);
}

/// Generated loads of independent tokens, against counts.
std::vector<FitCheck> check_generated_counts(const CountTrace& fitted, const CountTrace& held_back,
                                             const GeneratorParameters& parameters, const TaskPool& pool) {
  Figures of_fitted;
  add_loads(of_fitted, fitted);
  Figures of_held_back;
  add_loads(of_held_back, held_back);
  TokenBatch batch;
  for (std::size_t token = 0; token < kFitTokens; ++token) {
    batch.tokens.push_back({static_cast<std::uint32_t>(token), 0});
  }
  const RoutingShape shape{
      .tokens = 0, .layers = fitted.layers, .k = parameters.experts_per_token, .experts = fitted.experts};
  Figures generated;
  add_loads(generated, counts_of_step(generate(parameters, shape, batch, pool)));
  return compare(of_fitted, of_held_back, generated);
}

/// The sum of every other step from `first` on, or of those of a half.
CountTrace sum_of_steps(const CountTrace& counts, std::size_t which, HoldBack how) {
  CountTrace part = counts;
  part.steps = 1;
  part.step_counts.clear();
  std::fill(part.counts.begin(), part.counts.end(), 0.0);
  for (std::size_t step = 0; step < counts.steps; ++step) {
    const bool taken = how == HoldBack::kTime ? (step >= counts.steps / 2) == (which == 1) : step % 2 == which;
    for (std::size_t i = 0; taken && i < part.counts.size(); ++i) {
      part.counts[i] += counts.step_counts[step * part.counts.size() + i];
    }
  }
  return part;
}

}  // namespace

std::vector<FitCheck> check_held_back(const Recording& recording, const FitOptions& options, HoldBack how,
                                      const TaskPool& pool) {
  if (const TokenTrace* trace = recording.tokens()) {
    return check_tokens(*trace, options, how, pool);
  }
  const auto& counts = std::get<CountTrace>(recording.data);
  if (counts.steps < 2) {
    throw ConfigError({counts.name, {}},
                      "expected counts of at least two steps, to hold some back, found their sum only");
  }
  const CountTrace fitted = sum_of_steps(counts, 0, how);
  return check_generated_counts(fitted, sum_of_steps(counts, 1, how),
                                fit_counts(fitted, completed_for_counts(counts, options)), pool);
}

std::vector<FitCheck> check_against(const Recording& recording, const Recording& other, const FitOptions& options,
                                    const TaskPool& pool) {
  const CountTrace fitted = counts_of(recording);
  const CountTrace held_back = counts_of(other);
  if (held_back.layers != fitted.layers || held_back.experts != fitted.experts) {
    throw ConfigError({held_back.name, {}},
                      fmt::format("expected {} layers of {} experts, as the fitted recording has, found {} of {}",
                                  fitted.layers, fitted.experts, held_back.layers, held_back.experts));
  }
  return check_generated_counts(fitted, held_back, fit(recording, options, pool), pool);
}

}  // namespace moesim
