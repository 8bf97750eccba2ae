#include "validate/cases/published.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "sim/config/codec.hpp"
#include "sim/core/error.hpp"
#include "sim/scenario/run.hpp"
#include "sim/training/run.hpp"

namespace moesim {

template struct DescribedCodec<CaseFile>;

std::span<const EmbeddedFile> case_files();

const Catalogue& case_catalogue() {
  static const Catalogue catalogue("file of cases", case_files());
  return catalogue;
}

namespace {

double bytes_of_row(const CollectiveScenario& scenario) {
  const TokenLoad& load = *scenario.load;
  const DataType type = scenario.operation == CollectiveOperation::kDispatch ? load.dispatch : load.combine;
  return (static_cast<double>(load.hidden) * activation_element_size(type)).base();
}

/// What was simulated, as far as a figure may ask.
struct Simulated {
  Duration time = {};
  Duration notify = {};
  double rows = 0.0;  ///< of a dispatch or combine: one for each rank or node that a token has experts on
  double row_bytes = 0.0;
  double tokens = 0.0;  ///< of a step
  double ranks = 1.0;
  double per_node = 8.0;
  Duration plain_time =
      {};  ///< of the same step in one batch, or of as many tokens without drafts; where both were run
};

Simulated simulate(const CollectiveScenario& scenario, const Place& place) {
  const CollectiveResult result = run_collective(scenario, place, TaskPool(1));
  Simulated done{.time = result.time, .notify = result.notify, .rows = result.rows_per_rank};
  done.row_bytes = scenario.load ? bytes_of_row(scenario) : 0.0;
  return done;
}

Simulated simulate(const CaseRun& run, const Place& place) {
  if (const auto* one = std::get_if<RunCollective>(&run)) {
    return simulate(one->value, place);
  }
  if (const auto* several = std::get_if<RunCollectives>(&run)) {
    Simulated sum;
    for (const CollectiveScenario& scenario : several->value) {
      sum.time += simulate(scenario, place).time;
    }
    return sum;
  }
  if (const auto* split = std::get_if<RunSplit>(&run)) {
    Scenario whole = split->value;
    std::visit([](auto& step) { step.micro_batches.reset(); }, whole.step);
    return {.time = run_step(split->value, place, TaskPool(1)).execution.end.duration(),
            .plain_time = run_step(whole, place, TaskPool(1)).execution.end.duration()};
  }
  if (const auto* drafting = std::get_if<RunDrafting>(&run)) {
    Scenario plain = drafting->value;
    std::get<DecodeStep>(plain.step).speculative.reset();
    const StepResult result = run_step(drafting->value, place, TaskPool(1));
    return {.time = result.execution.end.duration(),
            .plain_time = run_step(plain, place, TaskPool(1)).execution.end.duration() * result.tokens_per_step};
  }
  if (const auto* training = std::get_if<RunTraining>(&run)) {
    const TrainingResult result = run_training(training->value, place, TaskPool(1));
    return {.time = result.step.duration(),
            .tokens = static_cast<double>(result.tokens),
            .ranks = static_cast<double>(training->value.parallelism.ranks),
            .per_node = static_cast<double>(result.cluster.gpus_per_node)};
  }
  const StepResult result = run_step(std::get<RunStep>(run).value, place, TaskPool(1));
  return {.time = result.execution.end.duration(),
          .tokens = result.new_tokens,
          .ranks = static_cast<double>(result.ranks),
          .per_node = static_cast<double>(result.cluster.gpus_per_node)};
}

double figure_of(const PublishedFigure& figure, const Simulated& done, double repeat) {
  const Duration time = done.time * repeat;
  if (std::holds_alternative<PublishedTime>(figure)) {
    return time.base();
  }
  if (std::holds_alternative<PublishedBandwidth>(figure)) {
    return done.rows * done.row_bytes / (time - done.notify * repeat).base();
  }
  if (std::holds_alternative<PublishedSpeedup>(figure)) {
    return done.plain_time / done.time;
  }
  const double per_gpu = done.tokens / done.ranks / time.base();
  return std::holds_alternative<PublishedGpuRate>(figure) ? per_gpu : per_gpu * done.per_node;
}

/// Whether a prediction is as it should be. A bound on the time is kept from below, one on a rate from above.
CaseVerdict judge(const CaseOutcome& outcome) {
  const double error = *outcome.error();
  const bool time = std::holds_alternative<PublishedTime>(outcome.of.published);
  const bool bound_only = outcome.of.relation == CaseRelation::kAtLeast;
  const double beyond = bound_only ? (time ? -error : error) : std::abs(error);
  return beyond <= outcome.of.tolerance ? CaseVerdict::kWithin : CaseVerdict::kMiss;
}

void run_case(CaseOutcome& outcome) {
  if (const auto* waits = std::get_if<RunWaits>(&outcome.of.run)) {
    outcome.note = fmt::format("waits for {}", waits->value);
    return;
  }
  const auto* split = std::get_if<RunSplit>(&outcome.of.run);
  const auto* drafting = std::get_if<RunDrafting>(&outcome.of.run);
  const bool compares = (split != nullptr && micro_batches_of(split->value.step) > 1) ||
                        (drafting != nullptr && draft_tokens_of(drafting->value.step) > 0);
  if (std::holds_alternative<PublishedSpeedup>(outcome.of.published) != compares) {
    outcome.verdict = CaseVerdict::kFailed;
    outcome.note =
        "expected a split_step in micro-batches or a drafting_step with draft tokens for a speedup, and for nothing "
        "else";
    return;
  }
  try {
    outcome.predicted =
        figure_of(outcome.of.published, simulate(outcome.of.run, {outcome.file, ""}), outcome.of.repeat);
    outcome.verdict = judge(outcome);
  } catch (const ConfigError& error) {
    outcome.verdict = CaseVerdict::kFailed;
    outcome.note = error.what();
  } catch (const ModelError& error) {
    outcome.verdict = CaseVerdict::kFailed;
    outcome.note = error.what();
  }
}

}  // namespace

double CaseOutcome::published() const {
  return std::visit(
      []<class T>(const T& figure) {
        if constexpr (requires { figure.value.base(); }) {
          return figure.value.base();
        } else {
          return figure.value;
        }
      },
      of.published);
}

std::string_view CaseOutcome::unit() const {
  return std::holds_alternative<PublishedTime>(of.published)        ? "s"
         : std::holds_alternative<PublishedBandwidth>(of.published) ? "B/s"
         : std::holds_alternative<PublishedSpeedup>(of.published)   ? "1"
                                                                    : "tokens/s";
}

std::optional<double> CaseOutcome::error() const {
  return predicted ? std::optional(*predicted / published() - 1.0) : std::nullopt;
}

std::vector<CaseOutcome> validate_cases(const std::vector<CaseFile>& files, const TaskPool& pool) {
  std::vector<CaseOutcome> outcomes;
  for (const CaseFile& file : files) {
    for (const PublishedCase& published : file.cases) {
      outcomes.push_back({.file = file.name, .source = file.source, .conditions = file.conditions, .of = published});
    }
  }
  pool.for_each_index(outcomes.size(), [&](std::size_t i) { run_case(outcomes[i]); });
  std::stable_sort(outcomes.begin(), outcomes.end(), [](const CaseOutcome& a, const CaseOutcome& b) {
    const auto key = [](const CaseOutcome& outcome) {
      const bool miss = outcome.verdict == CaseVerdict::kMiss;
      return std::tuple(outcome.verdict, miss ? -std::abs(*outcome.error()) : 0.0);
    };
    return key(a) < key(b);
  });
  return outcomes;
}

}  // namespace moesim
