#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "sim/core/error.hpp"
#include "sim/core/task_pool.hpp"
#include "sim/core/time.hpp"
#include "sim/execute/execute.hpp"
#include "sim/planning/sweep_config.hpp"
#include "sim/scenario/metrics.hpp"
#include "sim/scenario/run.hpp"

namespace moesim {

/// A limit in base units.
struct SweepBound {
  Figure metric = Figure::kStepTime;
  std::optional<double> at_most = std::nullopt;
  std::optional<double> at_least = std::nullopt;
  [[nodiscard]] bool holds(double value) const {
    return (!at_most || value <= *at_most) && (!at_least || value >= *at_least);
  }
};

/// What a sweep runs.
struct SweepPlan {
  std::string base_name;  ///< of the scenario's file
  Scenario base;          ///< with `set` applied
  std::vector<SweepBound> bounds;
  std::vector<std::vector<std::size_t>> at;  ///< [points][axes]: which value
  std::vector<Scenario> scenarios;           ///< [points]
};

/// Throws ConfigError for whatever can be found wrong before a point is run; `place` is the sweep's file.
SweepPlan plan_sweep(const SweepConfig& config, const Place& place);

/// What one combination of values came to.
struct SweepPoint {
  std::vector<std::size_t> at;  ///< [axes]: which value
  std::string obstacle;         ///< why it cannot run, such as memory; empty: it ran
  std::size_t gpus = 0;
  std::vector<Metric> metrics;
  std::array<SimTime, kTimeCategories> attribution{};  ///< of the step, mean over ranks
  bool within_limits = false;
  bool on_front =
      false;  ///< within the limits, and no other such point beats it in one objective without losing in another

  [[nodiscard]] bool ran() const { return obstacle.empty(); }
  /// Absent where it did not run, or has no such figure (a cost without a price).
  [[nodiscard]] std::optional<double> figure(Figure figure) const;
};

struct Sweep {
  SweepConfig config;
  Scenario base;  ///< with `set` applied
  std::vector<SweepPoint> points;
  /// Indices of points on the front, the best in the first objective first.
  std::vector<std::size_t> front;
  std::vector<InputFile> inputs;
  std::vector<std::string> warnings;
};

/// Whether `a` is no worse than `b` in any objective and better in one. `a` and `b` have as many figures as there are
/// objectives.
bool dominates(const std::vector<double>& a, const std::vector<double>& b,
               const std::vector<SweepObjective>& objectives);

/// Runs all points, several at once; `progress(done, all)` is called after each, from one thread at a time. Points that
/// cannot run, for memory or because their values do not go together, stay in the result with the reason. Throws what
/// plan_sweep does, and ModelError where no point can run.
Sweep run_sweep(const SweepConfig& config, const Place& place, const TaskPool& pool,
                const std::function<void(std::size_t, std::size_t)>& progress);

}  // namespace moesim
