#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/core/quantity.hpp"
#include "sim/execute/attribution.hpp"
#include "sim/scenario/run.hpp"

namespace moesim {

/// A figure of the result. `unit` is SI or a count; the definition says what exactly is meant.
struct Metric {
  std::string_view name;
  double value;
  std::string_view unit;
  std::string_view definition;
};

/// The figures of a step, in the order in which they are printed.
std::vector<Metric> step_metrics(const StepResult& result);

/// Of the model's own layers and head, or of the passes that draft tokens.
enum class StepPart { kModel, kDraft };

/// Mean over ranks of the time that each operator took, exposed communication and waits included, in the order of
/// StepPart and StepOperator; only those that took any. `layers`: of the model.
struct OperatorTime {
  StepPart part;
  StepOperator op;
  Duration time;
};
std::vector<OperatorTime> operator_times(const Execution& execution, std::size_t layers);

/// Mean over ranks of what the passes that draft tokens took.
Duration draft_time(const StepResult& result);

/// A link by its use: payload carried over what it could have carried during the step.
struct LinkUse {
  std::size_t link;
  double bytes;
  double utilisation;
};
/// The busiest first; equal ones in order of the links; only those that carried anything. `carried` (bytes) and
/// `capacity` are by link.
std::vector<LinkUse> busiest_links(std::span<const double> carried, std::span<const Bandwidth> capacity, Duration time);

/// Shares over all MoE layers: of choices that found no room, of tokens that no expert computes.
struct RouterTotals {
  double dropped = 0.0;
  double unserved = 0.0;
};
RouterTotals router_totals(const RouterOutcome& outcome, std::size_t tokens);

/// The rank with the largest footprint.
std::size_t fullest_rank(const StepResult& result);

/// Mean and largest imbalance over the MoE layers: of the recording where there is one, else of the step.
struct ImbalanceSummary {
  double mean = 1.0;
  double worst = 1.0;
  std::size_t worst_layer = 0;  ///< index among all layers of the model
};
ImbalanceSummary reported_imbalance(const StepResult& result);
ImbalanceSummary step_imbalance(const StepResult& result);

}  // namespace moesim
