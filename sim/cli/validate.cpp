#include <fmt/format.h>

#include <map>
#include <memory>

#include "sim/cli/commands.hpp"
#include "sim/cli/deliver.hpp"
#include "sim/cli/options.hpp"
#include "sim/config/describe.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "sim/report/error_table.hpp"
#include "sim/report/result_frame.hpp"
#include "validate/fit/table_validation.hpp"

namespace moesim {

void add_table_format(CLI::App& command, TableFormat& format) {
  static const std::map<std::string, TableFormat> kNames{{"aiconfigurator", TableFormat::kAiconfigurator},
                                                         {"moesim", TableFormat::kMoesim}};
  command.add_option("--table-format", format, "aiconfigurator (default; ms) or moesim: our own JSON")
      ->transform(CLI::CheckedTransformer(kNames))
      ->option_text("aiconfigurator|moesim");
}

namespace {

struct ValidateOptions : CommonOptions {
  std::string table;
  TableChoice choice;
};

Json row_of(const OperatorErrors& row) {
  Json json = {{"operator", row.op}};
  if (!row.type.empty()) {
    json["type"] = row.type;
    json["variant"] = row.variant;
  }
  json.update(Codec<FitErrors>::encode(row.errors));
  return json;
}

Json kernels_json(const ValidateOptions& options, const TableValidation& done) {
  std::size_t rows = 0;
  double sum = 0.0;
  Json operators = Json::array();
  for (const OperatorErrors& row : done.result.operators) {
    operators.push_back(row_of(row));
    rows += row.errors.n;
    sum += row.errors.mape * static_cast<double>(row.errors.n);
  }
  Json parts = Json::array();
  for (const OperatorErrors& row : done.result.parts) {
    parts.push_back(row_of(row));
  }
  const std::vector<InputFile> inputs{{options.table, sha256_of_file(options.table)}};
  std::vector<Metric> metrics{
      {"rows", static_cast<double>(rows), "1", "measured kernels or collectives that were predicted"}};
  if (rows > 0) {
    metrics.push_back(
        {"mape", sum / static_cast<double>(rows), "1", "mean of |predicted / measured - 1| over all rows"});
  }
  Json json = result_frame({.command = "validate kernels",
                            .seed = nullptr,
                            .scenario = {{"table", options.table}, {"profile", done.profile}},
                            .inputs = inputs,
                            .metrics = metrics,
                            .warnings = done.result.warnings});
  json["profile"] = done.profile;
  json["accelerator"] = done.device.accelerator;
  json["accelerator_said_by"] = done.device.said_by;
  json["operators"] = std::move(operators);
  json["parts"] = std::move(parts);
  return json;
}

std::string kernels_table(const ValidateOptions& options, const TableValidation& done) {
  std::string text = fmt::format("{} on {} (said by {}) by profile {}\n\n", options.table, done.device.accelerator,
                                 done.device.said_by, done.profile);
  text += error_heading("operator");
  for (const OperatorErrors& row : done.result.operators) {
    text += error_row(row.op, row.errors);
    for (const OperatorErrors& part : done.result.parts) {
      if (part.op == row.op) {
        const std::string variant = part.variant.empty() ? "" : fmt::format(" ({})", part.variant);
        text += error_row(fmt::format("  {}{}", part.type, variant), part.errors);
      }
    }
  }
  return text;
}

void validate_kernels(const ValidateOptions& options) {
  const TableValidation done = validate_table(options.table, options.choice, TaskPool(options.thread_count()));
  deliver(options, {kernels_json(options, done), kernels_table(options, done), done.result.warnings});
}

}  // namespace

void add_validate(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<ValidateOptions>();
  CLI::App* validate_command = app.add_subcommand("validate", "Hold predictions against measurements");
  validate_command->require_subcommand(1);
  CLI::App* command =
      validate_command->add_subcommand("kernels", "Latencies of kernels and collectives: predicted against measured");
  command->add_option("--table", options->table, "Measured latencies, CSV or CSV.gz")->required();
  add_table_format(*command, options->choice.format);
  command->add_option("--profile", options->choice.profile,
                      "A profile of the catalogue, or a .json file (default: the one fitted for the table's GPU and "
                      "framework, else the nearest)");
  command->add_option("--gpu", options->choice.gpu,
                      "Accelerator of the table (default: what it or its folders name, else the profile's)");
  options->add_threads(*command);
  options->add_out(*command);
  options->add_format(*command);
  command->callback([options] { validate_kernels(*options); });
  add_validate_serving(*validate_command);
  add_validate_cases(*validate_command, exit_code);
  add_validate_all(*validate_command, exit_code);
}

}  // namespace moesim
