#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "sim/config/catalogue.hpp"
#include "sim/config/describe.hpp"
#include "sim/core/quantity.hpp"
#include "sim/core/task_pool.hpp"
#include "sim/scenario/collective.hpp"
#include "sim/scenario/scenario.hpp"
#include "sim/training/training.hpp"

/// Runs that others published, and what is to be simulated to be held against them. Nothing is fitted to them.
namespace moesim {

/// What a published figure is. Times and rates are compared as quotients, predicted / published - 1.
struct PublishedTime {
  static constexpr std::string_view kTag = "time";
  static constexpr bool kWrapper = true;
  Duration value = {};
};
/// Bytes that dispatch or combine has to carry at least, over the time without the exchange of counts: what DeepEP's
/// tests print. Bytes: one row for each rank (in one node) or node (over several) that a token has experts on, the
/// token's own included; a row is the hidden size in its type with its scales.
struct PublishedBandwidth {
  static constexpr std::string_view kTag = "bandwidth";
  static constexpr bool kWrapper = true;
  Bandwidth value = {};
};
/// New tokens a second, of the GPUs of one node.
struct PublishedRate {
  static constexpr std::string_view kTag = "tokens_per_second_per_node";
  static constexpr bool kWrapper = true;
  double value = 0.0;
};
/// The same of one GPU.
struct PublishedGpuRate {
  static constexpr std::string_view kTag = "tokens_per_second_per_gpu";
  static constexpr bool kWrapper = true;
  double value = 0.0;
};
/// Tokens a second of a step in micro-batches over those of the same step in one batch, or of a step that drafts tokens
/// over those of one without.
struct PublishedSpeedup {
  static constexpr std::string_view kTag = "speedup";
  static constexpr bool kWrapper = true;
  double value = 1.0;
};
using PublishedFigure =
    std::variant<PublishedTime, PublishedBandwidth, PublishedRate, PublishedGpuRate, PublishedSpeedup>;

struct RunCollective {
  static constexpr std::string_view kTag = "collective";
  static constexpr bool kWrapper = true;
  CollectiveScenario value;
};
/// One after the other: their times add up.
struct RunCollectives {
  static constexpr std::string_view kTag = "collectives";
  static constexpr bool kWrapper = true;
  std::vector<CollectiveScenario> value;
};
struct RunStep {
  static constexpr std::string_view kTag = "step";
  static constexpr bool kWrapper = true;
  Scenario value;
};
/// A step in micro-batches, and the same in one batch.
struct RunSplit {
  static constexpr std::string_view kTag = "split_step";
  static constexpr bool kWrapper = true;
  Scenario value;
};
/// A step with speculative decoding, and the same without.
struct RunDrafting {
  static constexpr std::string_view kTag = "drafting_step";
  static constexpr bool kWrapper = true;
  Scenario value;
};
/// One step of a training run.
struct RunTraining {
  static constexpr std::string_view kTag = "training";
  static constexpr bool kWrapper = true;
  Training value;
};
/// Not to be simulated yet.
struct RunWaits {
  static constexpr std::string_view kTag = "waits_for";
  static constexpr bool kWrapper = true;
  std::string value;
};
using CaseRun = std::variant<RunCollective, RunCollectives, RunStep, RunSplit, RunDrafting, RunTraining, RunWaits>;

enum class CaseRelation { kAbout, kAtLeast };
template <>
struct EnumNames<CaseRelation> {
  static constexpr auto names = std::to_array<std::pair<CaseRelation, std::string_view>>(
      {{CaseRelation::kAbout, "about"}, {CaseRelation::kAtLeast, "at_least"}});
};

struct PublishedCase {
  std::string name;
  std::string conditions;  ///< besides those of the whole file
  PublishedFigure published;
  CaseRelation relation = CaseRelation::kAbout;
  double tolerance = 0.2;
  double repeat = 1.0;
  CaseRun run;
  std::string remark;

  template <class F>
  static void describe(F& f) {
    f.required("name", &PublishedCase::name, "What results call it", Rules::not_empty());
    f.optional("conditions", &PublishedCase::conditions, "Of this figure alone");
    f.required("published", &PublishedCase::published, "The figure");
    f.optional("relation", &PublishedCase::relation,
               "about: predictions are to be within the tolerance; at_least: the figure is a bound, below which no "
               "prediction may be, but for the tolerance");
    f.required("tolerance", &PublishedCase::tolerance, "Of |predicted / published - 1|",
               Rules{.maximum = 1.0, .positive = true});
    f.optional("repeat", &PublishedCase::repeat, "The predicted time counts so many times", Rules::above_zero());
    f.required("run", &PublishedCase::run, "What is simulated");
    f.optional("remark", &PublishedCase::remark, "What is known about the difference");
  }
};

/// Figures of one publication.
struct CaseFile {
  std::string name;
  std::string source;
  std::string conditions;
  std::string tolerance_because;
  std::vector<PublishedCase> cases;

  static constexpr std::string_view kDoc = "Published figures, and what is simulated to be held against them";
  template <class F>
  static void describe(F& f) {
    f.tag("schema", "moesim.cases/1");
    f.required("name", &CaseFile::name, "Name in the catalogue", Rules::not_empty());
    f.required("source", &CaseFile::source, "Where the figures were published", Rules::not_empty());
    f.required("conditions", &CaseFile::conditions,
               "Under which they were measured, as far as is said; what was "
               "assumed is called so",
               Rules::not_empty());
    f.required("tolerance_because", &CaseFile::tolerance_because, "Why predictions may be off by so much",
               Rules::not_empty());
    f.required("cases", &CaseFile::cases, "The figures", Rules::not_empty());
  }
};
extern template struct DescribedCodec<CaseFile>;

/// Cases that come with the program.
const Catalogue& case_catalogue();

enum class CaseVerdict { kMiss, kFailed, kWithin, kWaiting };
template <>
struct EnumNames<CaseVerdict> {
  static constexpr auto names =
      std::to_array<std::pair<CaseVerdict, std::string_view>>({{CaseVerdict::kMiss, "miss"},
                                                               {CaseVerdict::kFailed, "failed"},
                                                               {CaseVerdict::kWithin, "within"},
                                                               {CaseVerdict::kWaiting, "waiting"}});
};

struct CaseOutcome {
  std::string file;  ///< its name
  std::string source;
  std::string conditions;
  PublishedCase of;
  CaseVerdict verdict = CaseVerdict::kWaiting;
  std::optional<double> predicted = std::nullopt;  ///< in the figure's base unit
  std::string note = {};                           ///< what is waited for, or what went wrong

  [[nodiscard]] double published() const;
  [[nodiscard]] std::string_view unit() const;  ///< "s", "B/s", "tokens/s", "1"
  [[nodiscard]] std::optional<double> error() const;
};

/// Runs every case. Misses first, the worst before the others, then what could not run, what is within its tolerance,
/// and what waits.
std::vector<CaseOutcome> validate_cases(const std::vector<CaseFile>& files, const TaskPool& pool);

}  // namespace moesim
