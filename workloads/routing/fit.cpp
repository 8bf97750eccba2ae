#include "workloads/routing/fit.hpp"

#include <fmt/format.h>

#include "sim/core/error.hpp"
#include "workloads/routing/fit_loads.hpp"
#include "workloads/routing/runs.hpp"
#include "workloads/routing/same_path.hpp"

namespace moesim {

namespace {

TokenBatch independent_tokens(std::size_t tokens) {
  TokenBatch batch;
  for (std::size_t token = 0; token < tokens; ++token) {
    batch.tokens.push_back({static_cast<std::uint32_t>(token), 0});
  }
  return batch;
}

/// Length of the run that a token is in, in the mean over tokens: Σ n²/Σ n.
double tokens_around(std::span<const TokenRun> runs) {
  double squares = 0.0;
  double sum = 0.0;
  for (const TokenRun& run : runs) {
    const auto n = static_cast<double>(run.count);
    squares += n * n;
    sum += n;
  }
  return sum > 0.0 ? squares / sum : 1.0;
}

}  // namespace

StepRouting whole_trace(const TokenTrace& trace) {
  StepRouting step;
  step.shape = trace.shape();
  step.choices.resize(step.shape.layers * step.shape.tokens * step.shape.k);
  for (std::size_t layer = 0; layer < step.shape.layers; ++layer) {
    for (std::size_t token = 0; token < step.shape.tokens; ++token) {
      trace.read(token, layer,
                 std::span(step.choices).subspan((layer * step.shape.tokens + token) * step.shape.k, step.shape.k));
    }
  }
  return step;
}

TokenBatch batch_of(std::size_t tokens, std::span<const std::size_t> starts) {
  TokenBatch batch;
  std::uint32_t sequence = 0;
  std::size_t start = 0;
  for (std::size_t token = 0; token < tokens; ++token) {
    while (sequence < starts.size() && starts[sequence] <= token) {
      start = starts[sequence++];
    }
    batch.tokens.push_back({sequence, static_cast<std::uint32_t>(token - start)});
  }
  return batch;
}

FitOptions completed_for_counts(const CountTrace& counts, const FitOptions& options) {
  FitOptions completed = options;
  completed.k = counts.k ? counts.k : options.k;
  constexpr std::string_view kRecordedCorrelation = "deepseek-v2-lite";
  if (completed.correlation_source.empty() && generator_catalogue().contains(kRecordedCorrelation)) {
    completed.correlation = decode_generator(generator_catalogue().find(kRecordedCorrelation, {})).correlation;
    completed.correlation.layout = PointLayout::kTable;
    completed.correlation_source = fmt::format("{}: counts do not tell it", kRecordedCorrelation);
  }
  if (completed.k && *completed.k >= counts.experts) {
    throw ConfigError({counts.name, {}}, fmt::format("expected fewer experts per token than its {} experts, found {}",
                                                     counts.experts, *completed.k));
  }
  return completed;
}

GeneratorParameters fit_part(const CountTrace& counts, const TraceSample& sample, const FitOptions& options,
                             const TaskPool& pool) {
  FitOptions completed = options;
  completed.k = sample.routing.shape.k;
  completed.correlation_source = "the same recording";
  const RoutingShape& shape = sample.routing.shape;
  const TokenBatch batch = batch_of(shape.tokens, sample.starts);
  std::vector<std::vector<double>> in_sequences;
  for (std::size_t layer = 0; layer < counts.layers; ++layer) {
    const auto row = counts.layer(layer);
    in_sequences.emplace_back(row.begin(), row.end());
  }
  // The less of the loads is the popularity's, the more is due to passages, and the other way round: fitted in turn.
  constexpr int kRounds = 2;
  for (int round = 0; round < kRounds; ++round) {
    completed.correlation = fit_correlation(sample, inclusion_from_loads(in_sequences, shape.k), pool);
    in_sequences = fitted_loads(counts, shape, completed.correlation, batch, pool);
  }
  GeneratorParameters parameters = fit_counts(counts, completed);
  if (options.popularity == FitPopularity::kEachExpert) {
    parameters.popularity = fitted_loads(counts, shape, completed.correlation, independent_tokens(shape.tokens), pool);
    const std::vector<TokenRun> runs = runs_of(batch, kLongestRun);
    if (runs.size() < shape.tokens) {  // some token follows another
      parameters.popularity_in_sequences = std::move(in_sequences);
      parameters.sequence_tokens = rounded(tokens_around(runs));
    }
    parameters.provenance->checks = check_popularity(counts, parameters, 1);
  }
  return parameters;
}

GeneratorParameters fit_tokens(const TokenTrace& trace, const FitOptions& options, const TaskPool& pool) {
  return fit_part(count(trace), sample_of(trace, kFitTokens), options, pool);
}

GeneratorParameters fit(const Recording& recording, const FitOptions& options, const TaskPool& pool) {
  if (const TokenTrace* trace = recording.tokens()) {
    return fit_tokens(*trace, options, pool);
  }
  const auto& counts = std::get<CountTrace>(recording.data);
  return fit_counts(counts, completed_for_counts(counts, options));
}

}  // namespace moesim
