#include "validate/fit/calibrate.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "sim/cli/commands.hpp"
#include "sim/cli/options.hpp"
#include "sim/config/describe.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "validate/fit/validate.hpp"

namespace moesim {

namespace {

struct CalibrateOptions : CommonOptions {
  std::vector<std::string> tables;
  TableFormat table_format = TableFormat::kAiconfigurator;
  std::string output;
  std::string name;
  std::string gpu;
  std::string source;
  std::size_t folds = 5;
};

/// Tables of several GPUs cannot make one profile.
std::string common_device(const std::vector<MeasurementTable>& tables, const std::string& given) {
  std::optional<TableDevice> device;
  for (const MeasurementTable& table : tables) {
    const auto found = device_of(table, given);
    if (!found) {
      throw ConfigError({table.file, ""}, "expected a GPU that the catalogue knows, found none: say which with --gpu");
    }
    if (device && device->accelerator != found->accelerator) {
      throw ConfigError({table.file, ""},
                        fmt::format("expected rows of {} as in the tables before, found {} (said by {})",
                                    device->accelerator, found->accelerator, found->said_by));
    }
    device = found;
  }
  fmt::print(stderr, "GPU: {} (said by {})\n", device->accelerator, device->said_by);
  return device->accelerator;
}

void print_errors(const char* where, const std::optional<FitErrors>& errors) {
  if (errors) {
    fmt::print("  {:<28}{:>8}{:>9.2f}{:>9.2f}{:>9.2f}{:>9.1f}{:>+9.2f}\n", where, errors->n, 100 * errors->mape,
               100 * errors->median, 100 * errors->p90, 100 * errors->worst, 100 * errors->bias);
  } else {
    fmt::print("  {:<28}{:>8}\n", where, "unknown");
  }
}

void calibrate_tables(const CalibrateOptions& options) {
  std::vector<MeasurementTable> tables;
  for (const std::string& path : options.tables) {
    tables.push_back(read_measurements(path, options.table_format));
  }
  const std::string accelerator = common_device(tables, options.gpu);
  std::vector<std::string> warnings;
  for (const MeasurementTable& table : tables) {
    check_units(table, find_accelerator(accelerator, {"--gpu", ""}));
    warnings.insert(warnings.end(), table.warnings.begin(), table.warnings.end());
  }
  CalibrationOptions how;
  how.name = options.name.empty() ? std::filesystem::path(options.output).stem().string() : options.name;
  how.folds = options.folds;
  Calibration result = calibrate(tables, accelerator, how, TaskPool(options.thread_count()));
  result.profile.sources["*"] = options.source.empty() ? "measurements given to moesim calibrate" : options.source;
  warnings.insert(warnings.end(), result.warnings.begin(), result.warnings.end());
  write_file(options.output, Codec<FittedProfile>::encode(result.profile).dump() + '\n');
  for (const std::string& warning : warnings) {
    fmt::print(stderr, "warning: {}\n", warning);
  }
  if (options.format == OutputFormat::kJson) {
    Json json = {{"schema", "moesim.result/1"}, {"command", "calibrate"}, {"operators", Json::array()}};
    for (const KernelFit& fit : result.profile.fits) {
      Json row = {
          {"operator", name_of(fit.family)}, {"type", name_of(fit.type)}, {"variant", fit.variant}, {"rows", fit.rows}};
      if (fit.in_grid) {
        row["in_grid"] = Codec<FitErrors>::encode(*fit.in_grid);
      }
      if (fit.out_of_grid) {
        row["out_of_grid"] = Codec<FitErrors>::encode(*fit.out_of_grid);
      }
      json["operators"].push_back(std::move(row));
    }
    json["warnings"] = warnings;
    fmt::print("{}\n", json.dump(2));
    return;
  }
  fmt::print("{:<30}{:>8}{:>9}{:>9}{:>9}{:>9}{:>9}\n", "errors of held-back rows, %", "n", "MAPE", "median", "p90",
             "worst", "bias");
  for (const KernelFit& fit : result.profile.fits) {
    fmt::print("{} {} ({})\n", name_of(fit.family), name_of(fit.type), fit.variant);
    print_errors("in grid (other sizes)", fit.in_grid);
    print_errors("out of grid (other shapes)", fit.out_of_grid);
  }
  fmt::print("written to {}\n", options.output);
}

}  // namespace

void add_calibrate(CLI::App& app) {
  auto options = std::make_shared<CalibrateOptions>();
  CLI::App* command = app.add_subcommand("calibrate", "Fit a profile of kernel costs to measurements");
  command
      ->add_option("tables", options->tables,
                   "Measured latencies of one GPU: CSV or CSV.gz as aiconfigurator writes them")
      ->required();
  command->add_option("-o,--output", options->output, "Where to write the profile (moesim.fitted-profile/1)")
      ->required();
  command->add_option("--name", options->name, "The profile's name (default: that of the output file)");
  command->add_option("--gpu", options->gpu, "Accelerator of the tables (default: what they or their folders name)");
  command->add_option("--source", options->source, "Where the measurements come from, to be noted in the profile");
  command->add_option("--folds", options->folds, "Folds of the validation")->check(CLI::Range(2, 20));
  add_table_format(*command, options->table_format);
  options->add_threads(*command);
  options->add_format(*command);
  command->callback([options] { calibrate_tables(*options); });
}

}  // namespace moesim
