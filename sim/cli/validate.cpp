#include "validate/fit/validate.hpp"

#include <fmt/format.h>

#include <map>
#include <memory>

#include "sim/cli/commands.hpp"
#include "sim/cli/options.hpp"
#include "sim/config/describe.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "sim/report/version.hpp"

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
  TableFormat table_format = TableFormat::kAiconfigurator;
  std::string profile;
  std::string gpu;
};

ProfileChoice choice_of(const std::string& text) {
  if (text.ends_with(".json")) {
    return ProfileFile{{text, text}};
  }
  return ProfileName{text};
}

Json row_of(const OperatorErrors& row) {
  Json json = {{"operator", row.op}};
  if (!row.type.empty()) {
    json["type"] = row.type;
    json["variant"] = row.variant;
  }
  json.update(Codec<FitErrors>::encode(row.errors));
  return json;
}

void print_row(const std::string& name, const FitErrors& errors) {
  fmt::print("{:<60}{:>8}{:>9.2f}{:>9.2f}{:>9.2f}{:>9.1f}{:>+9.2f}\n", name, errors.n, 100 * errors.mape,
             100 * errors.median, 100 * errors.p90, 100 * errors.worst, 100 * errors.bias);
}

void validate_kernels(const ValidateOptions& options) {
  const MeasurementTable table = read_measurements(options.table, options.table_format);
  std::optional<TableDevice> device = device_of(table, options.gpu);
  const std::string name = !options.profile.empty() ? options.profile
                           : device                 ? nearest_profile(device->accelerator, table.framework)
                                                    : nearest_profile("", table.framework);
  const KernelProfile profile = load_kernel_profile(choice_of(name), {"--profile", ""});
  if (!device) {
    if (!profile.fitted) {
      throw ConfigError({options.table, ""},
                        "expected a GPU that the catalogue knows, found none: say which with --gpu");
    }
    device = TableDevice{profile.fitted->profile().accelerator, "the profile"};
  }
  const Accelerator accelerator = find_accelerator(device->accelerator, {"--gpu", ""});
  check_units(table, accelerator);
  const Validation result = validate(table, profile, accelerator);

  for (const std::string& warning : result.warnings) {
    fmt::print(stderr, "warning: {}\n", warning);
  }
  if (options.format == OutputFormat::kJson) {
    std::size_t rows = 0;
    double sum = 0.0;
    Json operators = Json::array();
    for (const OperatorErrors& row : result.operators) {
      operators.push_back(row_of(row));
      rows += row.errors.n;
      sum += row.errors.mape * static_cast<double>(row.errors.n);
    }
    Json parts = Json::array();
    for (const OperatorErrors& row : result.parts) {
      parts.push_back(row_of(row));
    }
    Json json = {
        {"schema", "moesim.result/1"},
        {"command", "validate kernels"},
        {"version", version()},
        {"profile", profile.name},
        {"accelerator", device->accelerator},
        {"accelerator_said_by", device->said_by},
        {"inputs", Json::array({{{"path", options.table}, {"sha256", sha256(read_file(options.table))}}})},
        {"metrics",
         {{"rows", {{"value", rows}, {"unit", "1"}, {"definition", "measured kernels that were predicted"}}}}}};
    if (rows > 0) {
      json["metrics"]["mape"] = {{"value", sum / static_cast<double>(rows)},
                                 {"unit", "1"},
                                 {"definition", "mean of |predicted / measured - 1| over all rows"}};
    }
    json["warnings"] = result.warnings;
    json["operators"] = std::move(operators);
    json["parts"] = std::move(parts);
    fmt::print("{}\n", json.dump(2));
    return;
  }
  fmt::print("{} on {} (said by {}) by profile {}\n\n", options.table, accelerator.name, device->said_by, profile.name);
  fmt::print("{:<60}{:>8}{:>9}{:>9}{:>9}{:>9}{:>9}\n", "operator: errors, %", "n", "MAPE", "median", "p90", "worst",
             "bias");
  for (const OperatorErrors& row : result.operators) {
    print_row(row.op, row.errors);
    for (const OperatorErrors& part : result.parts) {
      if (part.op == row.op) {
        print_row(fmt::format("  {} ({})", part.type, part.variant), part.errors);
      }
    }
  }
}

}  // namespace

void add_validate(CLI::App& app) {
  auto options = std::make_shared<ValidateOptions>();
  CLI::App* validate_command = app.add_subcommand("validate", "Hold predictions against measurements");
  validate_command->require_subcommand(1);
  CLI::App* command = validate_command->add_subcommand("kernels", "Kernel latencies: predicted against measured");
  command->add_option("--table", options->table, "Measured latencies, CSV or CSV.gz")->required();
  add_table_format(*command, options->table_format);
  command->add_option("--profile", options->profile,
                      "A profile of the catalogue, or a .json file (default: the one fitted for the table's GPU and "
                      "framework, else the nearest)");
  command->add_option("--gpu", options->gpu,
                      "Accelerator of the table (default: what it or its folders name, else the profile's)");
  options->add_format(*command);
  command->callback([options] { validate_kernels(*options); });
  add_validate_serving(*validate_command);
}

}  // namespace moesim
