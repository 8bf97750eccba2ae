#include "sim/planning/sweep.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "sim/config/decode.hpp"
#include "sim/execute/attribution.hpp"

namespace moesim {

namespace {

const Metric* find_metric(const std::vector<Metric>& metrics, Figure figure) {
  const auto found =
      std::find_if(metrics.begin(), metrics.end(), [&](const Metric& m) { return m.name == name_of(figure); });
  return found == metrics.end() ? nullptr : &*found;
}

std::vector<SweepBound> bounds_of(const SweepConfig& config, const Place& place) {
  std::vector<SweepBound> bounds;
  for (std::size_t i = 0; i < config.limits.size(); ++i) {
    const SweepLimit& limit = config.limits[i];
    const Place here = below(place, fmt::format("/limits/{}", i));
    if (!limit.at_most && !limit.at_least) {
      throw ConfigError(here, "expected at_most or at_least, found neither");
    }
    SweepBound& bound = bounds.emplace_back(SweepBound{limit.metric});
    if (limit.at_most) {
      bound.at_most = value_of(limit.metric, *limit.at_most, below(here, "/at_most"));
    }
    if (limit.at_least) {
      bound.at_least = value_of(limit.metric, *limit.at_least, below(here, "/at_least"));
    }
    if (bound.at_most && bound.at_least && *bound.at_least > *bound.at_most) {
      throw ConfigError(here, "expected at_least to be no more than at_most, found it to be more");
    }
  }
  return bounds;
}

/// What a scenario must have for a figure to be there; empty: nothing, or it has it.
std::string_view missing_for(Figure figure, const Scenario& scenario) {
  if (figure == Figure::kCostPerMillionTokens && !scenario.price_per_gpu) {
    return "a scenario with price_per_gpu, found one without; \"set\": {\"/price_per_gpu\": \"2 USD/h\"} gives it one";
  }
  if (figure == Figure::kTimePerOutputToken && !std::holds_alternative<DecodeStep>(scenario.step)) {
    return "a scenario with a decode step, found one with a prefill step, which generates nothing";
  }
  return {};
}

void check_figures(const SweepConfig& config, const std::vector<Scenario>& scenarios, const Place& place) {
  const auto check = [&](Figure figure, const std::string& at) {
    for (const Scenario& scenario : scenarios) {
      if (const std::string_view missing = missing_for(figure, scenario); !missing.empty()) {
        throw ConfigError(below(place, at), fmt::format("expected {}", missing));
      }
    }
  };
  for (std::size_t i = 0; i < config.limits.size(); ++i) {
    check(config.limits[i].metric, fmt::format("/limits/{}/metric", i));
  }
  for (std::size_t i = 0; i < config.objectives.size(); ++i) {
    const Figure metric = config.objectives[i].metric;
    check(metric, fmt::format("/objectives/{}/metric", i));
    const auto before = config.objectives.begin() + static_cast<std::ptrdiff_t>(i);
    if (std::any_of(config.objectives.begin(), before, [&](const auto& other) { return other.metric == metric; })) {
      throw ConfigError(below(place, fmt::format("/objectives/{}/metric", i)),
                        fmt::format("expected each metric once, found {} twice", name_of(metric)));
    }
  }
  for (std::size_t i = 0; i < config.show.size(); ++i) {
    check(config.show[i], fmt::format("/show/{}", i));
  }
}

std::string text_of(const ConfigError& error) {
  std::string text;
  for (const Diagnostic& diagnostic : error.diagnostics()) {
    text += (text.empty() ? "" : "; ") + diagnostic.text();
  }
  return text;
}

/// What a point leaves behind; a whole step's result would not be kept for all.
struct Ran {
  std::vector<InputFile> inputs;
  std::vector<std::string> warnings;
};

Ran run_point(SweepPoint& point, const Scenario& scenario, const Place& place, const TaskPool& pool) {
  try {
    StepResult result = run_step(scenario, place, pool);
    point.gpus = result.ranks;
    point.metrics = step_metrics(result);
    point.attribution = attribution(result.execution);
    return {std::move(result.inputs), std::move(result.warnings)};
  } catch (const ModelError& error) {
    point.obstacle = error.what();
  } catch (const ConfigError& error) {
    point.obstacle = text_of(error);
  }
  return {};
}

std::vector<double> objective_values(const SweepPoint& point, const std::vector<SweepObjective>& objectives) {
  std::vector<double> values;
  for (const SweepObjective& objective : objectives) {
    values.push_back(point.figure(objective.metric).value());
  }
  return values;
}

void judge(Sweep& sweep, const std::vector<SweepBound>& bounds) {
  const auto& objectives = sweep.config.objectives;
  std::vector<std::size_t> candidates;
  for (std::size_t i = 0; i < sweep.points.size(); ++i) {
    SweepPoint& point = sweep.points[i];
    point.within_limits = point.ran() && std::all_of(bounds.begin(), bounds.end(), [&](const SweepBound& bound) {
                            return bound.holds(point.figure(bound.metric).value());
                          });
    if (point.within_limits) {
      candidates.push_back(i);
    }
  }
  std::vector<std::vector<double>> values(sweep.points.size());
  for (const std::size_t i : candidates) {
    values[i] = objective_values(sweep.points[i], objectives);
  }
  for (const std::size_t i : candidates) {
    sweep.points[i].on_front = std::none_of(candidates.begin(), candidates.end(), [&](std::size_t other) {
      return dominates(values[other], values[i], objectives);
    });
    if (sweep.points[i].on_front) {
      sweep.front.push_back(i);
    }
  }
  std::stable_sort(sweep.front.begin(), sweep.front.end(), [&](std::size_t a, std::size_t b) {
    const double first = values[a].front();
    const double second = values[b].front();
    return objectives.front().goal == Goal::kMaximise ? first > second : first < second;
  });
}

/// In the order of the points; what several say is said once, with how many they are.
void gather(Sweep& sweep, std::vector<Ran> ran) {
  std::vector<std::pair<std::string, std::size_t>> warnings;
  for (Ran& one : ran) {
    for (InputFile& input : one.inputs) {
      const bool known = std::any_of(sweep.inputs.begin(), sweep.inputs.end(),
                                     [&](const InputFile& other) { return other.path == input.path; });
      if (!known) {
        sweep.inputs.push_back(std::move(input));
      }
    }
    for (std::string& warning : one.warnings) {
      const auto same =
          std::find_if(warnings.begin(), warnings.end(), [&](const auto& entry) { return entry.first == warning; });
      if (same == warnings.end()) {
        warnings.emplace_back(std::move(warning), 1);
      } else {
        ++same->second;
      }
    }
  }
  const auto points = static_cast<std::size_t>(
      std::count_if(sweep.points.begin(), sweep.points.end(), [](const SweepPoint& point) { return point.ran(); }));
  for (auto& [warning, count] : warnings) {
    sweep.warnings.push_back(count == points ? std::move(warning)
                                             : fmt::format("{} of {} points: {}", count, points, warning));
  }
}

}  // namespace

std::optional<double> SweepPoint::figure(Figure figure) const {
  if (!ran()) {
    return std::nullopt;
  }
  if (figure == Figure::kGpus) {
    return static_cast<double>(gpus);
  }
  const Metric* metric = find_metric(metrics, figure);
  return metric == nullptr ? std::nullopt : std::optional(metric->value);
}

bool dominates(const std::vector<double>& a, const std::vector<double>& b,
               const std::vector<SweepObjective>& objectives) {
  bool better = false;
  for (std::size_t i = 0; i < objectives.size(); ++i) {
    const bool maximise = objectives[i].goal == Goal::kMaximise;
    if (maximise ? a[i] < b[i] : a[i] > b[i]) {
      return false;
    }
    better = better || a[i] != b[i];
  }
  return better;
}

SweepPlan plan_sweep(const SweepConfig& config, const Place& place) {
  const Document base = base_document(config, place);
  SweepPlan plan{base.name(), decode_document<Scenario>(base), bounds_of(config, place), {}, {}};
  const std::size_t points = count_points(config, place);
  for (std::size_t i = 0; i < points; ++i) {
    plan.at.push_back(values_at(config, i));
    plan.scenarios.push_back(scenario_at(config, base, plan.at.back(), place));
  }
  check_figures(config, plan.scenarios, place);
  return plan;
}

Sweep run_sweep(const SweepConfig& config, const Place& place, const TaskPool& pool,
                const std::function<void(std::size_t, std::size_t)>& progress) {
  const SweepPlan plan = plan_sweep(config, place);
  Sweep sweep{config, plan.base, std::vector<SweepPoint>(plan.at.size()), {}, {}, {}};
  std::vector<Ran> ran(sweep.points.size());
  std::mutex counting;
  std::size_t done = 0;
  const TaskPool alone(1);  // points run side by side, each on one thread
  pool.for_each_index(sweep.points.size(), [&](std::size_t i) {
    sweep.points[i].at = plan.at[i];
    ran[i] = run_point(sweep.points[i], plan.scenarios[i], {plan.base_name, {}}, alone);
    const std::lock_guard lock(counting);
    progress(++done, sweep.points.size());
  });
  if (std::none_of(sweep.points.begin(), sweep.points.end(), [](const SweepPoint& point) { return point.ran(); })) {
    throw ModelError(fmt::format("{}: none of {} points can run; the first: {}", place.text(), sweep.points.size(),
                                 sweep.points.front().obstacle));
  }
  gather(sweep, std::move(ran));
  judge(sweep, plan.bounds);
  return sweep;
}

}  // namespace moesim
