#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <span>

#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "workloads/routing/correlation.hpp"
#include "workloads/routing/fit.hpp"

namespace moesim {

namespace {

/// Minimises `cost` one coordinate at a time, steps halving when none helps. All coordinates stay in [low, high].
struct Range {
  double low;
  double high;
};
template <class Cost>
std::vector<double> coordinate_search(std::vector<double> x, std::span<const Range> ranges, std::size_t rounds,
                                      const Cost& cost) {
  double best = cost(x);
  double step = 0.25;  // of each range
  for (std::size_t round = 0; round < rounds; ++round) {
    bool better = false;
    for (std::size_t i = 0; i < x.size(); ++i) {
      for (const double sign : {1.0, -1.0}) {
        std::vector<double> trial = x;
        trial[i] = std::clamp(x[i] + sign * step * (ranges[i].high - ranges[i].low), ranges[i].low, ranges[i].high);
        if (trial[i] == x[i]) {
          continue;
        }
        const double value = cost(trial);
        if (value < best) {
          best = value;
          x = trial;
          better = true;
          break;
        }
      }
    }
    if (!better) {
      step *= 0.5;
    }
  }
  return x;
}

/// Generated routing of the recording's shape with the recording's own popularity.
class Mirror {
 public:
  Mirror(const StepRouting& recorded, std::span<const std::size_t> starts, const TaskPool& pool)
      : shape_(recorded.shape),
        starts_(starts),
        batch_(batch_of(recorded.shape.tokens, starts)),
        pool_(pool),
        recorded_(correlation_statistics(recorded, starts)) {
    std::vector<double> inclusion(shape_.layers * shape_.experts, 0.0);
    for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
      for (const ExpertIndex expert : recorded.layer(layer)) {
        inclusion[layer * shape_.experts + expert] += 1.0 / static_cast<double>(shape_.tokens);
      }
    }
    source_.emplace(shape_, inclusion, RoutingCorrelation{}, GroupLimit{}, 1, "");
  }

  [[nodiscard]] const CorrelationStatistics& recorded() const { return recorded_; }
  [[nodiscard]] CorrelationStatistics generated(const RoutingCorrelation& correlation) const {
    return correlation_statistics(source_->with(correlation).draw(batch_, 1, pool_), starts_);
  }

 private:
  RoutingShape shape_;
  std::span<const std::size_t> starts_;
  TokenBatch batch_;
  const TaskPool& pool_;
  CorrelationStatistics recorded_;
  std::optional<GeneratedSource> source_;
};

double association_cost(const CorrelationStatistics& recorded, const CorrelationStatistics& generated) {
  double cost = 0.0;
  constexpr double kLeast = 1e-3;
  for (std::size_t i = 0; i < recorded.association.size(); ++i) {
    const double ratio =
        std::log(std::max(generated.association[i].value, kLeast) / std::max(recorded.association[i].value, kLeast));
    cost += ratio * ratio;
  }
  return cost;
}

double overlap_cost(const CorrelationStatistics& recorded, const CorrelationStatistics& generated) {
  double cost = 0.0;
  for (std::size_t i = 0; i < recorded.overlap.size(); ++i) {
    const double difference = generated.overlap[i].value - recorded.overlap[i].value;
    cost += difference * difference;
  }
  return cost;
}

RoutingCorrelation fit_correlation(const Mirror& mirror) {
  RoutingCorrelation correlation{
      .shared = 0.9, .points_per_expert = 1.5, .turnover = 0.02, .repeat = 0.1, .topic = 0.5, .topic_tokens = 16.0};
  constexpr int kRounds = 2;  // each half moves the other's figures a little
  for (int round = 0; round < kRounds; ++round) {
    const auto across = [&](const std::vector<double>& x) {
      RoutingCorrelation trial = correlation;
      trial.shared = x[0];
      trial.points_per_expert = std::exp2(x[1]);
      trial.turnover = x[2];
      return trial;
    };
    constexpr std::array<Range, 3> kAcross = {{{0.0, 1.0}, {-1.0, 4.0}, {0.0, 0.2}}};
    constexpr std::size_t kSteps = 10;
    correlation =
        across(coordinate_search({correlation.shared, std::log2(correlation.points_per_expert), correlation.turnover},
                                 kAcross, kSteps, [&](const std::vector<double>& x) {
                                   return association_cost(mirror.recorded(), mirror.generated(across(x)));
                                 }));
    const auto along = [&](const std::vector<double>& x) {
      RoutingCorrelation trial = correlation;
      trial.repeat = x[0];
      trial.topic = std::min(x[1], 1.0 - x[0]);
      trial.topic_tokens = std::exp2(x[2]);
      return trial;
    };
    constexpr std::array<Range, 3> kAlong = {{{0.0, 0.9}, {0.0, 1.0}, {0.0, 8.0}}};
    correlation = along(coordinate_search(
        {correlation.repeat, correlation.topic, std::log2(correlation.topic_tokens)}, kAlong, kSteps,
        [&](const std::vector<double>& x) { return overlap_cost(mirror.recorded(), mirror.generated(along(x))); }));
  }
  for (double* value : {&correlation.shared, &correlation.points_per_expert, &correlation.turnover, &correlation.repeat,
                        &correlation.topic, &correlation.topic_tokens}) {
    *value = rounded(*value);
  }
  return correlation;
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

GeneratorParameters fit_tokens(const TokenTrace& trace, const FitOptions& options, const TaskPool& pool) {
  FitOptions completed = options;
  completed.k = trace.shape().k;
  const StepRouting recorded = whole_trace(trace);
  const Mirror mirror(recorded, trace.sequence_starts(), pool);
  completed.correlation = fit_correlation(mirror);
  completed.correlation_source = "the same recording";
  GeneratorParameters parameters = fit_counts(count(trace), completed);
  const CorrelationStatistics generated = mirror.generated(parameters.correlation);
  std::vector<FitCheck>& checks = parameters.provenance->checks;
  for (std::size_t i = 0; i < generated.overlap.size(); ++i) {
    checks.push_back({fmt::format("overlap at a distance of {} tokens", generated.overlap[i].distance),
                      rounded(mirror.recorded().overlap[i].value), rounded(generated.overlap[i].value)});
  }
  for (std::size_t i = 0; i < generated.association.size(); ++i) {
    checks.push_back({fmt::format("association at a distance of {} layers", generated.association[i].distance),
                      rounded(mirror.recorded().association[i].value), rounded(generated.association[i].value)});
  }
  return parameters;
}

GeneratorParameters fit(const std::filesystem::path& recording, const FitOptions& options, const TaskPool& pool) {
  if (recording.extension() == ".json") {
    FitOptions completed = options;
    constexpr std::string_view kRecordedCorrelation = "deepseek-v2-lite";
    if (completed.correlation_source.empty() && generator_catalogue().contains(kRecordedCorrelation)) {
      completed.correlation = decode_generator(generator_catalogue().find(kRecordedCorrelation, {})).correlation;
      completed.correlation_source = fmt::format("{}: counts do not tell it", kRecordedCorrelation);
    }
    const CountTrace counts = read_counts(recording);
    if (completed.k && *completed.k >= counts.experts) {
      throw ConfigError(
          {recording.string(), {}},
          fmt::format("expected fewer experts per token than its {} experts, found {}", counts.experts, *completed.k));
    }
    return fit_counts(counts, completed);
  }
  return fit_tokens(TokenTrace::open(recording, options.trace), options, pool);
}

}  // namespace moesim
