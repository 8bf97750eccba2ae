#include "workloads/routing/fit.hpp"

#include <fmt/format.h>

#include "sim/core/error.hpp"
#include "workloads/routing/fit_loads.hpp"

namespace moesim {

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
  std::vector<std::vector<double>> recorded;
  for (std::size_t layer = 0; layer < counts.layers; ++layer) {
    const auto row = counts.layer(layer);
    recorded.emplace_back(row.begin(), row.end());
  }
  // The less of the loads is the popularity's, the more is due to passages, and the other way round: fitted in turn.
  LoadsAndSequences loads{recorded, recorded};
  constexpr int kRounds = 2;
  for (int round = 0; round < kRounds; ++round) {
    completed.correlation = fit_correlation(sample, inclusion_of_loads(loads.in_sequences, shape.k), pool);
    loads = fitted_loads(counts, shape, completed.correlation, batch, pool);
  }
  GeneratorParameters parameters = fit_counts(counts, completed);
  if (options.popularity == FitPopularity::kEachExpert) {
    parameters.popularity = std::move(loads.independent);
    if (sample.starts.size() < shape.tokens) {  // some token follows another
      parameters.popularity_in_sequences = std::move(loads.in_sequences);
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
