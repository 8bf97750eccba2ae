#include "sim/report/rebalancing_report.hpp"

#include <fmt/format.h>

#include <cmath>
#include <optional>

#include "sim/core/units.hpp"

namespace moesim {

namespace {

/// A row's figures in the mean over its periods.
struct Summary {
  MeanMigration moved;
  double with_migration;             ///< s, a step with its share of the move
  std::optional<double> break_even;  ///< steps between two moves from which on moving pays
};

Summary summary(const RebalancingRow& row, std::size_t every_steps) {
  const MeanMigration moved = row.moved();
  const double gain = row.once() - row.rebalanced();
  return {moved, row.rebalanced() + moved.time / static_cast<double>(every_steps),
          gain > 0.0 ? std::optional(moved.time / gain) : std::nullopt};
}

}  // namespace

std::string rebalancing_table(const PlacementComparison& comparison, std::string_view trace) {
  const RebalanceConfig& config = *comparison.config.rebalance;
  std::string text = fmt::format(
      "\n  re-balanced over {} periods of {} steps each, mean of all but the first\n  {:<19}{:>11}{:>13}{:>11}{:>10}"
      "{:>11}{:>12}{:>11}{:>13}\n",
      config.periods, config.every_steps, "strategy", "once", "re-balanced", "hindsight", "moved", "bytes", "in",
      "with it", "pays after");
  for (const RebalancingRow& row : comparison.rebalancing) {
    if (row.trace != trace) {
      continue;
    }
    const Summary mean = summary(row, config.every_steps);
    text += fmt::format("  {:<19}{:>11}{:>13}{:>11}{:>10.1f}{:>11}{:>12}{:>11}{:>13}\n", row.strategy,
                        to_text(seconds(row.once())), to_text(seconds(row.rebalanced())),
                        to_text(seconds(row.hindsight())), mean.moved.copies, to_text(bytes(mean.moved.bytes)),
                        to_text(seconds(mean.moved.time)), to_text(seconds(mean.with_migration)),
                        mean.break_even ? fmt::format("{:.0f} steps", std::ceil(*mean.break_even)) : "never");
  }
  return text;
}

std::string_view rebalancing_notes() {
  return "once: placed by the first period; re-balanced: by the period before; hindsight: by the period itself\n"
         "moved: copies of experts that change their GPU between two periods, over idle links; with it: step time with "
         "that shared out\n";
}

Json rebalancing_json(const PlacementComparison& comparison) {
  Json rows = Json::array();
  for (const RebalancingRow& row : comparison.rebalancing) {
    const Summary mean = summary(row, comparison.config.rebalance->every_steps);
    Json json = {{"strategy", row.strategy},
                 {"trace", row.trace},
                 {"step_time_once", row.once()},
                 {"step_time_rebalanced", row.rebalanced()},
                 {"step_time_hindsight", row.hindsight()},
                 {"copies_moved", mean.moved.copies},
                 {"bytes_moved", mean.moved.bytes},
                 {"migration_time", mean.moved.time},
                 {"step_time_with_migration", mean.with_migration},
                 {"pays_after_steps", mean.break_even ? Json(*mean.break_even) : Json(nullptr)},
                 {"periods", Json::array()}};
    for (const RebalancedPeriod& period : row.periods) {
      json["periods"].push_back({{"step_time_once", period.once},
                                 {"step_time_rebalanced", period.rebalanced},
                                 {"step_time_hindsight", period.hindsight},
                                 {"copies_moved", period.moved.copies},
                                 {"bytes_moved", period.moved.bytes},
                                 {"migration_time", period.moved.time.base()}});
    }
    rows.push_back(std::move(json));
  }
  return rows;
}

}  // namespace moesim
