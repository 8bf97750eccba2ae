#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <utility>

#include "sim/cli/case_report.hpp"
#include "sim/cli/commands.hpp"
#include "sim/cli/deliver.hpp"
#include "sim/config/decode.hpp"
#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "sim/report/result_frame.hpp"
#include "validate/cases/serving.hpp"
#include "validate/fit/calibrate.hpp"
#include "validate/fit/table_validation.hpp"

namespace moesim {

namespace {

struct AllOptions : CommonOptions {
  std::string data;
  std::string readme;
  std::vector<std::string> cases;
};

/// Errors of one operator on one GPU, whatever the software.
struct OperatorRow {
  std::string gpu;
  std::string op;
  std::size_t n = 0;
  double sum = 0.0;   ///< of |error|
  double bias = 0.0;  ///< sum of the error
  double worst = 0.0;

  [[nodiscard]] double mape() const { return sum / static_cast<double>(n); }
};

/// Errors of serving runs with something in common.
struct ServingRow {
  std::string name;
  FitErrors errors;
};

struct Everything {
  std::vector<OperatorRow> operators;           ///< the worst first
  std::vector<ServingRow> systems;              ///< all runs of each
  std::vector<ServingRow> serving;              ///< by system, server and model, the worst first
  std::map<std::string, std::size_t> left_out;  ///< kind → runs
  std::vector<CaseOutcome> cases;
  std::vector<InputFile> inputs;
  std::vector<std::string> warnings;
};

/// Tables of measured kernels and collectives below a folder, by name.
std::vector<std::filesystem::path> tables_below(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> paths;
  if (std::filesystem::is_directory(folder)) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
      const std::string name = entry.path().filename().string();
      if (entry.is_regular_file() && (name.ends_with(".csv") || name.ends_with(".csv.gz"))) {
        paths.push_back(entry.path());
      }
    }
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

/// "all_reduce, 8 GPUs" and "all_reduce, 2 GPUs" are one row here.
std::string family_of(const std::string& op) { return op.substr(0, op.find(',')); }

void add_table(const std::filesystem::path& path, const TaskPool& pool,
               std::map<std::pair<std::string, std::string>, OperatorRow>& rows, Everything& all) {
  try {
    const TableValidation done = validate_table(path, {}, pool);
    for (const OperatorErrors& errors : done.result.operators) {
      const std::string op = family_of(errors.op);
      OperatorRow& row =
          rows.try_emplace({done.device.accelerator, op}, OperatorRow{done.device.accelerator, op}).first->second;
      row.n += errors.errors.n;
      row.sum += errors.errors.mape * static_cast<double>(errors.errors.n);
      row.bias += errors.errors.bias * static_cast<double>(errors.errors.n);
      row.worst = std::max(row.worst, errors.errors.worst);
    }
    all.warnings.insert(all.warnings.end(), done.result.warnings.begin(), done.result.warnings.end());
    all.inputs.push_back({path, sha256_of_file(path)});
  } catch (const ConfigError& error) {
    all.warnings.push_back(fmt::format("{}: left out: {}", path.string(), error.what()));
  }
}

/// Tells servers that generate tokens alone from those that read prompts too, and those that predict several tokens a
/// step from those that do not.
std::string_view suffix_of(ServerPhases phases, TokensPerStep tokens) {
  return phases == ServerPhases::kDecode     ? ", disaggregated"
         : tokens == TokensPerStep::kSeveral ? ", multi-token prediction"
                                             : "";
}

void add_serving(const std::filesystem::path& path, const TaskPool& pool, Everything& all) {
  if (!std::filesystem::is_regular_file(path)) {
    all.warnings.push_back(fmt::format("{}: no such file: no serving runs", path.string()));
    return;
  }
  const ServingValidation result = validate_serving(read_serving_table(path), "", pool);
  std::map<std::string, std::vector<double>> systems;
  for (const ServingPrediction& run : result.predictions) {
    systems[fmt::format("{}{}", run.run.system, suffix_of(run.run.phases, run.run.tokens()))].push_back(run.error());
  }
  for (auto& [system, errors] : systems) {
    all.systems.push_back({system, errors_of(std::move(errors))});
  }
  for (const ServingErrors& group : result.groups) {
    all.serving.push_back(
        {fmt::format("{} {} {}{}", group.system, group.backend, group.model, suffix_of(group.phases, group.tokens)),
         group.errors});
  }
  const auto worse = [](const ServingRow& a, const ServingRow& b) { return a.errors.mape > b.errors.mape; };
  std::stable_sort(all.systems.begin(), all.systems.end(), worse);
  std::stable_sort(all.serving.begin(), all.serving.end(), worse);
  for (const SkippedRun& skipped : result.skipped) {
    ++all.left_out[skipped.kind];
  }
  all.inputs.push_back({path, sha256_of_file(path)});
}

Everything validate_everything(const AllOptions& options) {
  const TaskPool pool(options.thread_count());
  Everything all;
  if (!options.data.empty()) {
    const std::filesystem::path data(options.data);
    const auto tables = tables_below(data / "measured");
    if (tables.empty()) {
      throw ConfigError({options.data, ""}, "expected tables of measurements in its folder measured, found none");
    }
    std::map<std::pair<std::string, std::string>, OperatorRow> rows;
    for (const auto& path : tables) {
      add_table(path, pool, rows, all);
    }
    for (auto& [key, row] : rows) {
      all.operators.push_back(std::move(row));
    }
    std::stable_sort(all.operators.begin(), all.operators.end(),
                     [](const OperatorRow& a, const OperatorRow& b) { return a.mape() > b.mape(); });
    add_serving(data / "end_to_end" / "serving.csv.gz", pool, all);
  }
  std::vector<CaseFile> files;
  for (const Document& document : case_documents(options.cases)) {
    files.push_back(decode_document<CaseFile>(document));
  }
  all.cases = validate_cases(files, pool);
  return all;
}

std::string serving_rows(std::span<const ServingRow> rows, std::string_view head) {
  std::string text =
      fmt::format("| {} | n | MAPE | median | p90 | worst | bias |\n|---|---|---|---|---|---|---|\n", head);
  for (const auto& [name, errors] : rows) {
    text +=
        fmt::format("| {} | {} | {:.1f} | {:.1f} | {:.1f} | {:.1f} | {:+.1f} |\n", name, errors.n, 100.0 * errors.mape,
                    100.0 * errors.median, 100.0 * errors.p90, 100.0 * errors.worst, 100.0 * errors.bias);
  }
  return text + '\n';
}

std::string markdown_of(const Everything& all) {
  std::string text =
      "Published runs, to none of which anything was fitted, misses first:\n\n" + case_markdown(all.cases) + '\n';
  if (!all.serving.empty()) {
    text +=
        "Time per output token of measured serving runs, to which no profile was fitted; errors in percent, the worst "
        "first:\n\n" +
        serving_rows(all.systems, "system") + serving_rows(all.serving, "system, server, model");
    std::string reasons;
    for (const auto& [reason, count] : all.left_out) {
      reasons += fmt::format("{}{} {}", reasons.empty() ? "" : "; ", count, reason);
    }
    text += reasons.empty() ? "" : fmt::format("Left out: {}.\n\n", reasons);
  }
  if (!all.operators.empty()) {
    text +=
        "Kernels and collectives, predicted against public tables, by GPU and operator, the worst first; errors in "
        "percent. Rows of these tables were fitted to; `moesim show fits` and `moesim show profiles` have the errors "
        "of rows that were held back.\n\n| GPU | operator | n | MAPE | worst | bias |\n|---|---|---|---|---|---|\n";
    for (const OperatorRow& row : all.operators) {
      text += fmt::format("| {} | {} | {} | {:.1f} | {:.0f} | {:+.1f} |\n", row.gpu, row.op, row.n, 100.0 * row.mape(),
                          100.0 * row.worst, 100.0 * row.bias / static_cast<double>(row.n));
    }
    text += '\n';
  }
  return text;
}

Json all_json(const AllOptions& options, const Everything& all) {
  const std::vector<Metric> metrics{
      {"cases_within", static_cast<double>(count_of(all.cases, CaseVerdict::kWithin)), "1",
       "published figures predicted within their tolerance"},
      {"cases_missed", static_cast<double>(count_of(all.cases, CaseVerdict::kMiss)), "1", "predicted outside it"}};
  Json json = result_frame({.command = "validate all",
                            .seed = Scenario{}.seed,
                            .scenario = {{"data", options.data}},
                            .inputs = all.inputs,
                            .metrics = metrics,
                            .warnings = all.warnings});
  json["operators"] = Json::array();
  for (const OperatorRow& row : all.operators) {
    json["operators"].push_back({{"accelerator", row.gpu},
                                 {"operator", row.op},
                                 {"n", row.n},
                                 {"mape", row.mape()},
                                 {"worst", row.worst},
                                 {"bias", row.bias / static_cast<double>(row.n)}});
  }
  for (const auto& [key, rows] : {std::pair("systems", &all.systems), std::pair("serving", &all.serving)}) {
    json[key] = Json::array();
    for (const ServingRow& row : *rows) {
      json[key].push_back({{"group", row.name}});
      json[key].back().update(Codec<FitErrors>::encode(row.errors));
    }
  }
  json["left_out"] = all.left_out;
  json["cases"] = case_rows(all.cases);
  return json;
}

constexpr std::string_view kBegin = "<!-- accuracy: begin -->\n";
constexpr std::string_view kEnd = "<!-- accuracy: end -->";

/// The text of a file around what its marks enclose. Throws ConfigError where it has none.
struct Surroundings {
  explicit Surroundings(const std::string& path) {
    const std::string text = read_file(path);
    const std::size_t begin = text.find(kBegin);
    const std::size_t end = text.find(kEnd);
    if (begin == std::string::npos || end == std::string::npos || end < begin) {
      throw ConfigError({path, ""}, fmt::format("expected the marks {} and {}, found none",
                                                kBegin.substr(0, kBegin.size() - 1), kEnd));
    }
    before = text.substr(0, begin + kBegin.size());
    after = text.substr(end);
  }
  std::string before;
  std::string after;
};

void validate_all(const AllOptions& options, int& exit_code) {
  if (!options.readme.empty()) {
    static_cast<void>(Surroundings(options.readme));  // the work takes minutes: no marks are told before
  }
  const Everything all = validate_everything(options);
  const std::string section = markdown_of(all);
  if (!options.readme.empty()) {
    const Surroundings around(options.readme);
    write_file(options.readme, around.before + section + around.after);
  }
  deliver(options, {all_json(options, all), section, all.warnings, {{"accuracy.md", section}}});
  if (!all_as_expected(all.cases)) {
    exit_code = kCheckFailed;
  }
}

}  // namespace

void add_validate_all(CLI::App& validate, int& exit_code) {
  auto options = std::make_shared<AllOptions>();
  CLI::App* command = validate.add_subcommand(
      "all", "All that there is to hold predictions against, as Markdown. Exit code 1 where a case misses");
  command->add_option("--data", options->data,
                      "Folder with measured/**.csv.gz and end_to_end/serving.csv.gz as aiconfigurator writes them "
                      "(default: only published cases)");
  command->add_option("--cases", options->cases, "Names of `moesim list cases`, or files of cases (default: all)");
  command->add_option("--readme", options->readme, "File whose section between the accuracy marks is replaced");
  options->add_threads(*command);
  options->add_out(*command);
  options->add_format(*command);
  command->callback([options, &exit_code] { validate_all(*options, exit_code); });
}

}  // namespace moesim
