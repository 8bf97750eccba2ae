#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/config/catalogue.hpp"
#include "sim/config/describe.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/core/units.hpp"
#include "sim/scenario/scenario.hpp"

namespace moesim {

/// What a sweep may limit, rank or show: metrics of a step by their names in its result, and the GPUs it takes.
enum class Figure {
  kStepTime,
  kTimePerOutputToken,
  kTokensPerSecond,
  kTokensPerSecondPerGpu,
  kCostPerMillionTokens,
  kMfu,
  kHfu,
  kHbmUtilisation,
  kHbmPeakPerRank,
  kBytesInterNode,
  kLoadImbalanceMean,
  kGpus
};
template <>
struct EnumNames<Figure> {
  static constexpr auto names =
      std::to_array<std::pair<Figure, std::string_view>>({{Figure::kStepTime, "step_time"},
                                                          {Figure::kTimePerOutputToken, "time_per_output_token"},
                                                          {Figure::kTokensPerSecond, "tokens_per_second"},
                                                          {Figure::kTokensPerSecondPerGpu, "tokens_per_second_per_gpu"},
                                                          {Figure::kCostPerMillionTokens, "cost_per_million_tokens"},
                                                          {Figure::kMfu, "mfu"},
                                                          {Figure::kHfu, "hfu"},
                                                          {Figure::kHbmUtilisation, "hbm_utilisation"},
                                                          {Figure::kHbmPeakPerRank, "hbm_peak_per_rank"},
                                                          {Figure::kBytesInterNode, "bytes_inter_node"},
                                                          {Figure::kLoadImbalanceMean, "load_imbalance_mean"},
                                                          {Figure::kGpus, "gpus"}});
};

enum class Goal { kMaximise, kMinimise };
template <>
struct EnumNames<Goal> {
  static constexpr auto names =
      std::to_array<std::pair<Goal, std::string_view>>({{Goal::kMaximise, "maximise"}, {Goal::kMinimise, "minimise"}});
};

struct SweepLimit {
  Figure metric = Figure::kStepTime;
  std::optional<Json> at_most;
  std::optional<Json> at_least;

  static constexpr std::string_view kValueDoc =
      "A quantity with its unit (\"50 ms\", \"120 GB\", \"2 USD\"); a bare number for what is a count, a ratio or "
      "tokens/s";
  template <class F>
  static void describe(F& f) {
    f.required("metric", &SweepLimit::metric, "Which figure");
    f.optional("at_most", &SweepLimit::at_most, kValueDoc);
    f.optional("at_least", &SweepLimit::at_least, "The same");
  }
};

struct SweepObjective {
  Figure metric = Figure::kTokensPerSecondPerGpu;
  Goal goal = Goal::kMaximise;

  template <class F>
  static void describe(F& f) {
    f.required("metric", &SweepObjective::metric, "Which figure");
    f.required("goal", &SweepObjective::goal, "Which way is better");
  }
};

/// JSON pointers into the scenario, each with as many values; the i-th values of all are set together.
struct SweepAxis {
  static constexpr bool kWrapper = true;
  std::map<std::string, std::vector<Json>> value;
};

/// One scenario under all combinations of values: a SWEEP.json.
struct SweepConfig {
  std::string name;
  std::string description;
  FilePath scenario;
  std::map<std::string, Json> set;
  std::vector<SweepAxis> axes;
  std::vector<SweepLimit> limits;
  std::vector<SweepObjective> objectives{{Figure::kTokensPerSecondPerGpu, Goal::kMaximise},
                                         {Figure::kStepTime, Goal::kMinimise}};
  std::vector<Figure> show;

  static constexpr std::string_view kDoc = "One scenario under all combinations of values";
  template <class F>
  static void describe(F& f) {
    f.tag("schema", "moesim.sweep/1");
    f.optional("name", &SweepConfig::name, "What results call it");
    f.optional("description", &SweepConfig::description, "For people");
    f.required("scenario", &SweepConfig::scenario,
               "A moesim.scenario/1 file, or the name of one that comes with the program");
    f.optional("set", &SweepConfig::set, "Values of the scenario that are other ones everywhere, by JSON pointer");
    f.required("axes", &SweepConfig::axes,
               "What varies: each axis has one JSON pointer with its values, or several with as many values each, "
               "which change together; every value of one axis meets every value of the others",
               Rules::not_empty());
    f.optional("limits", &SweepConfig::limits, "What a point must hold to be proposed");
    f.optional("objectives", &SweepConfig::objectives,
               "What is weighed: points that no other beats in one without losing in another are the front; the first "
               "one ranks them",
               Rules::not_empty());
    f.optional("show", &SweepConfig::show, "Further figures in the table; the JSON has all");
  }
};
extern template struct DescribedCodec<SweepConfig>;

/// Sweeps that come with the program.
const Catalogue& sweep_catalogue();

/// The units that a figure is written in; nullptr: a bare number.
const UnitTable* units_of(Figure figure);
/// A limit's value in base units. Throws ConfigError at `place`.
double value_of(Figure figure, const Json& value, const Place& place);

/// The scenario's document with `set` applied. Throws ConfigError; `place` is the sweep's file.
Document base_document(const SweepConfig& config, const Place& place);

/// How many combinations there are. Throws ConfigError for axes without values, with lists of unequal length, with
/// what is no JSON pointer, with pointers to the same value, or with more combinations than kMostPoints.
inline constexpr std::size_t kMostPoints = 100'000;
std::size_t count_points(const SweepConfig& config, const Place& place);

/// A value as people read it: texts without quotes, everything else as JSON.
std::string value_text(const Json& value);
/// "/step/decode/context=4096, /parallelism/ranks=8": the values of a point.
std::string values_text(const SweepConfig& config, const std::vector<std::size_t>& at);

/// Which value of each axis a point has; the last axis changes fastest.
std::vector<std::size_t> values_at(const SweepConfig& config, std::size_t point);

/// The scenario of a point. Throws ConfigError with the faults that the values make.
Scenario scenario_at(const SweepConfig& config, const Document& base, const std::vector<std::size_t>& at,
                     const Place& place);

}  // namespace moesim
