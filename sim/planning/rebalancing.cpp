#include "sim/planning/rebalancing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <span>
#include <utility>
#include <variant>

#include "sim/core/error.hpp"
#include "sim/planning/step_clock.hpp"
#include "sim/planning/trace_parts.hpp"

namespace moesim {

namespace {

/// What one part of a recording tells.
struct Period {
  std::vector<double> loads;  ///< [layers, experts]
  StepRouting step;           ///< a step of its tokens
};

/// A period's clock, and what its step takes beside its MoE layers, wherever the experts lie.
struct PeriodClock {
  PeriodClock(const PreparedStep& step, const StepRouting& routing, Fidelity fidelity)
      : layers(step, routing, fidelity), rest(layers.rest(step.placement.layers.front())) {}
  StepClock layers;
  double rest;  ///< s
};

std::vector<Period> periods_of_tokens(const TokenTrace& trace, std::size_t periods, const PreparedStep& step,
                                      const Place& place) {
  const std::size_t tokens = trace.shape().tokens;
  if (tokens < periods) {
    throw ConfigError(place, fmt::format("expected at least one token for each of {} periods, found {} tokens in {}",
                                         periods, tokens, trace.name()));
  }
  const std::size_t step_tokens = token_batch(step).tokens.size();
  const TakeTokens how = step.batch.phase == StepPhase::kDecode ? TakeTokens::kSpread : TakeTokens::kTogether;
  std::vector<Period> out;
  for (std::size_t i = 0; i < periods; ++i) {
    const TracePart part{i * tokens / periods, (i + 1) * tokens / periods};
    out.push_back({loads_of_part(trace, part), take_step(trace, part, step_tokens, how)});
  }
  return out;
}

std::vector<Period> periods_of_counts(const CountTrace& trace, std::size_t periods, const PreparedStep& step,
                                      const Place& place, const TaskPool& pool) {
  if (trace.step_counts.empty() || trace.steps < periods) {
    throw ConfigError(place, fmt::format("expected counts of at least {} steps, one for each period, found {} in {}",
                                         periods, trace.step_counts.empty() ? 1 : trace.steps, trace.name));
  }
  const std::size_t size = trace.layers * trace.experts;
  std::vector<Period> out;
  for (std::size_t i = 0; i < periods; ++i) {
    CountTrace part = trace;
    part.step_counts.clear();
    part.counts.assign(size, 0.0);
    part.steps = (i + 1) * trace.steps / periods - i * trace.steps / periods;
    for (std::size_t s = i * trace.steps / periods; s < (i + 1) * trace.steps / periods; ++s) {
      for (std::size_t j = 0; j < size; ++j) {
        part.counts[j] += trace.step_counts[s * size + j];
      }
    }
    std::vector<double> loads = part.counts;
    const auto source = source_of_counts(std::move(part), routing_needs(step.model));
    out.push_back({std::move(loads), source->draw(token_batch(step), step.scenario.seed + i, pool)});
  }
  return out;
}

std::vector<Period> read_periods(const RebalanceConfig& config, const PreparedStep& step, const Place& place,
                                 const TaskPool& pool) {
  if (const auto* tokens = std::get_if<TraceRouting>(&step.scenario.routing)) {
    return periods_of_tokens(open_trace(*tokens, routing_needs(step.model)), config.periods, step, place);
  }
  if (const auto counts = step.routing->recorded_counts()) {
    return periods_of_counts(*counts, config.periods, step, place, pool);
  }
  throw ConfigError(place, fmt::format("expected routing that was recorded over time, to re-balance by (choices of "
                                       "tokens, or counts of several steps), found what is alike at all times: {}",
                                       step.routing->provenance()));
}

/// One strategy through all periods.
class StrategyOverTime {
 public:
  StrategyOverTime(const StrategyEntry& entry, const PreparedStep& step, std::span<const Period> periods,
                   const std::deque<PeriodClock>& clocks, const TaskPool& pool)
      : entry_(entry), step_(step), periods_(periods), clocks_(clocks), pool_(pool), weights_(expert_weights(step)) {}

  RebalancingRow run(std::vector<std::string>& warnings) {
    RebalancingRow row;
    const Placement first = place(0, nullptr, warnings);
    Placement now = first;
    for (std::size_t i = 1; i < periods_.size(); ++i) {
      RebalancedPeriod period;
      Placement own = place(i, &now, warnings);
      period.once = step_time(i, first);
      period.rebalanced = i == 1 ? period.once : step_time(i, now);
      period.hindsight = step_time(i, own);
      period.moved = moved_;
      row.periods.push_back(period);
      if (i + 1 < periods_.size()) {
        moved_ = migrate(now, own, weights_, step_.cluster);
      }
      now = std::move(own);
    }
    return row;
  }

 private:
  [[nodiscard]] Placement place(std::size_t period, const Placement* before, std::vector<std::string>& warnings) const {
    PlacementProblem problem = placement_problem(step_);
    problem.loads = periods_[period].loads;
    problem.tokens = &periods_[period].step;
    problem.pool = &pool_;
    problem.clock = &clocks_[period].layers;
    problem.before = before;
    const auto strategy = entry_.make();
    Placement placement = strategy->place(problem);
    for (const std::string& warning : strategy->warnings()) {
      warnings.push_back(fmt::format("re-balancing, {}, period {}: {}", entry_.name, period, warning));
    }
    return placement;
  }

  [[nodiscard]] double step_time(std::size_t period, const Placement& placement) const {
    double sum = clocks_[period].rest;
    for (const LayerMeasurement& layer : clocks_[period].layers.measure(placement, pool_)) {
      sum += layer.time;
    }
    return sum;
  }

  const StrategyEntry& entry_;
  const PreparedStep& step_;
  std::span<const Period> periods_;
  const std::deque<PeriodClock>& clocks_;
  const TaskPool& pool_;
  ExpertWeights weights_;
  Migration moved_;  // before the period that comes next
};

}  // namespace

double RebalancingRow::mean(double RebalancedPeriod::* what) const {
  double sum = 0.0;
  for (const RebalancedPeriod& period : periods) {
    sum += period.*what;
  }
  return sum / static_cast<double>(periods.size());
}

MeanMigration RebalancingRow::moved() const {
  MeanMigration mean;
  const double share = 1.0 / static_cast<double>(periods.size());
  for (const RebalancedPeriod& period : periods) {
    mean.copies += share * static_cast<double>(period.moved.copies);
    mean.bytes += share * period.moved.bytes;
    mean.time += share * period.moved.time.base();
  }
  return mean;
}

std::vector<RebalancingRow> compare_rebalancing(const RebalanceConfig& config, const PreparedStep& step,
                                                Fidelity fidelity, const std::string& trace, const Place& place,
                                                const TaskPool& pool, std::vector<std::string>& warnings) {
  const std::vector<Period> periods = read_periods(config, step, below(place, "/rebalance/periods"), pool);
  std::deque<PeriodClock> clocks;  // which do not move
  for (const Period& period : periods) {
    clocks.emplace_back(step, period.step, fidelity);
  }
  const std::vector<std::string>& reused = periods.front().step.warnings;
  warnings.insert(warnings.end(), reused.begin(), reused.end());
  std::vector<RebalancingRow> rows;
  for (std::size_t i = 0; i < config.strategies.size(); ++i) {
    const StrategyEntry& entry =
        find_strategy(config.strategies[i], below(place, fmt::format("/rebalance/strategies/{}", i)));
    rows.push_back(StrategyOverTime(entry, step, periods, clocks, pool).run(warnings));
    rows.back().strategy = entry.name;
    rows.back().trace = trace;
  }
  return rows;
}

}  // namespace moesim
