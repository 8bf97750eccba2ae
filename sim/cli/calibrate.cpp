#include "validate/fit/calibrate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
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
#include "validate/fit/communication_fit.hpp"
#include "validate/fit/dispatch_fit.hpp"
#include "validate/fit/table_validation.hpp"
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
  std::string base = "roofline";
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

Json errors_json(const FitErrors& errors) { return Codec<FitErrors>::encode(errors); }

Json frame(const CalibrateOptions& options, const std::vector<std::string>& warnings) {
  const std::vector<InputFile> inputs =
      hashed(std::vector<std::filesystem::path>(options.tables.begin(), options.tables.end()));
  return result_frame({.command = "calibrate",
                       .seed = nullptr,
                       .scenario = {{"tables", options.tables}, {"output", options.output}, {"folds", options.folds}},
                       .inputs = inputs,
                       .metrics = {},
                       .warnings = warnings});
}

std::string profile_name(const CalibrateOptions& options) {
  return options.name.empty() ? std::filesystem::path(options.output).stem().string() : options.name;
}

std::string source_of(const CalibrateOptions& options) {
  return options.source.empty() ? "measurements given to moesim calibrate" : options.source;
}

/// A row of JSON with the errors at what was held back, where anything was.
Json with_errors(Json row, const std::optional<FitErrors>& in_grid, const std::optional<FitErrors>& out_of_grid) {
  if (in_grid) {
    row["in_grid"] = errors_json(*in_grid);
  }
  if (out_of_grid) {
    row["out_of_grid"] = errors_json(*out_of_grid);
  }
  return row;
}

void calibrate_kernels(const CalibrateOptions& options) {
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
  how.name = profile_name(options);
  how.folds = options.folds;
  // What is written names its base, and is read wherever the catalogue is: so a name, and one step deep.
  if (options.base.ends_with(".json")) {
    throw ConfigError({"--base", ""}, fmt::format("expected the name of a profile, found the file {}", options.base));
  }
  const KernelProfile base = load_kernel_profile(profile_choice(options.base), {"--base", ""});
  if (base.behind) {
    throw ConfigError({"--base", ""},
                      fmt::format("expected a profile whose own base has no fits, found {}", options.base));
  }
  how.contention = base.communication.contention;
  Calibration result = calibrate(tables, accelerator, how, TaskPool(options.thread_count()));
  result.profile.base = options.base;
  result.profile.sources["*"] = source_of(options);
  warnings.insert(warnings.end(), result.warnings.begin(), result.warnings.end());
  write_file(options.output, Codec<FittedProfile>::encode(result.profile).dump() + '\n');
  Json json = frame(options, warnings);
  json["operators"] = Json::array();
  std::string text = error_heading("held-back rows");
  for (const KernelFit& fit : result.profile.fits) {
    Json row = with_errors(
        {{"operator", name_of(fit.family)}, {"type", name_of(fit.type)}, {"variant", fit.variant}, {"rows", fit.rows}},
        fit.in_grid, fit.out_of_grid);
    if (fit.out_of_grid_usual) {
      row["set_aside"] = fit.set_aside.value_or(0);
      row["out_of_grid_usual"] = errors_json(*fit.out_of_grid_usual);
    }
    json["operators"].push_back(std::move(row));
    text += fmt::format("{} {} ({})\n", name_of(fit.family), name_of(fit.type), fit.variant);
    text += error_row("  in grid (other sizes)", fit.in_grid);
    text += error_row("  out of grid (other shapes)", fit.out_of_grid);
    if (fit.out_of_grid_usual) {
      text += error_row("    without rows set aside as untuned", fit.out_of_grid_usual);
    }
  }
  if (const auto& contention = result.profile.contention) {
    json["operators"].push_back(
        with_errors({{"operator", "contention"}, {"rows", contention->rows}}, contention->unseen_units, std::nullopt));
    text += fmt::format(
        "contention: kernels need {:.1f} % of the compute units where those hold them back, {:.1f} % "
        "where the HBM does\n",
        100.0 * contention->terms.compute_bound, 100.0 * contention->terms.memory_bound);
    text += error_row("  slowdown beside other numbers of units", contention->unseen_units);
  }
  text += fmt::format("written to {}\n", options.output);
  deliver(options, {std::move(json), std::move(text), warnings});
}

/// The base profile with the terms that were fitted in place of its own.
RooflineProfile with_terms(const CalibrateOptions& options, const KernelProfile& base, const std::string& accelerator,
                           const DomainTable& terms) {
  RooflineProfile profile = base.base;
  const Accelerator& on = find_accelerator(accelerator, {"--gpu", ""});
  const bool own =
      std::find(profile.measured_on.begin(), profile.measured_on.end(), on.name) != profile.measured_on.end();
  DomainTable& table = own ? profile.communication.in_domain : profile.communication.in_domain_on[on.name];
  for (const auto& [collective, fitted] : terms) {
    table[collective] = fitted;
  }
  profile.name = profile_name(options);
  if (!terms.empty()) {
    profile.sources[own ? "communication.in_domain" : fmt::format("communication.in_domain_on.{}", on.name)] =
        source_of(options);
  }
  return profile;
}

/// What the terms of DeepEP's kernels come from: those that were fitted from the tables, the others as before.
std::string dispatch_source(const CalibrateOptions& options, const DispatchFit& fit, CommunicationSource source,
                            const std::string& before) {
  std::string fitted;
  for (const DispatchErrors& found : fit.errors) {
    if (found.source == source) {
      fitted += fmt::format("{}{} {}", fitted.empty() ? "" : ", ", name_of(found.op),
                            found.network ? "over the network" : "in a node");
    }
  }
  return fmt::format("{}: {}; else as before: {}", fitted, source_of(options), before);
}

void with_dispatch(const CalibrateOptions& options, const DispatchFit& fit, RooflineProfile& profile) {
  if (fit.low_latency) {
    profile.communication.low_latency = *fit.low_latency;
    std::string& source = profile.sources["communication.low_latency"];
    source = dispatch_source(options, fit, CommunicationSource::kDeepEpLowLatency, source);
  }
  if (fit.high_throughput) {
    profile.communication.high_throughput = *fit.high_throughput;
    std::string& source = profile.sources["communication.high_throughput"];
    source = dispatch_source(options, fit, CommunicationSource::kDeepEpNormal, source);
  }
}

void calibrate_communication(const CalibrateOptions& options, const std::vector<CommunicationTable>& tables) {
  std::vector<MeasurementTable> heads;
  std::vector<std::string> warnings;
  for (const CommunicationTable& table : tables) {
    heads.push_back(table.head);
    warnings.insert(warnings.end(), table.head.warnings.begin(), table.head.warnings.end());
  }
  const std::string accelerator = common_device(heads, options.gpu);
  const KernelProfile base = load_kernel_profile(profile_choice(options.base), {"--base", ""});
  const CommunicationFit fit = fit_communication(tables, accelerator, base, options.folds);
  warnings.insert(warnings.end(), fit.warnings.begin(), fit.warnings.end());
  const DispatchFit dispatch = fit_dispatch(tables, accelerator, base, options.folds, TaskPool(options.thread_count()));
  warnings.insert(warnings.end(), dispatch.warnings.begin(), dispatch.warnings.end());
  if (fit.terms.empty() && dispatch.errors.empty()) {
    throw ConfigError({tables.front().head.file, ""},
                      fmt::format("expected rows enough to fit to, found too few{}{}", warnings.empty() ? "" : ": ",
                                  fmt::join(warnings, "; ")));
  }
  RooflineProfile profile = with_terms(options, base, accelerator, fit.terms);
  with_dispatch(options, dispatch, profile);
  check_profile(profile, {options.output, ""});
  write_file(options.output, Codec<RooflineProfile>::encode(profile).dump(1) + '\n');
  Json json = frame(options, warnings);
  json["operators"] = Json::array();
  std::string text = error_heading("sizes held back");
  for (const auto& [collective, entries] : fit.terms) {
    for (const DomainTerms& terms : entries) {
      json["operators"].push_back(
          with_errors({{"operator", name_of(collective)}, {"ranks", terms.ranks}}, terms.unseen_sizes, std::nullopt));
      text += error_row(fmt::format("{}, {} GPUs", name_of(collective), terms.ranks), terms.unseen_sizes);
    }
  }
  for (const DispatchErrors& found : dispatch.errors) {
    const std::string name =
        fmt::format("deepep {} {}, {}", found.source == CommunicationSource::kDeepEpNormal ? "normal" : "low latency",
                    name_of(found.op), found.network ? "several nodes" : "one node");
    json["operators"].push_back(
        with_errors({{"operator", name}, {"rows", found.rows}}, found.in_grid, found.out_of_grid));
    text += name + '\n';
    text += error_row("  rows held back", found.in_grid);
    text +=
        error_row(found.network ? "  shapes or numbers of nodes held back" : "  shapes held back", found.out_of_grid);
  }
  text += fmt::format("written to {}\n", options.output);
  deliver(options, {std::move(json), std::move(text), warnings});
}

void calibrate_tables(const CalibrateOptions& options) {
  std::vector<CommunicationTable> communication;
  for (const std::string& path : options.tables) {
    auto table = options.table_format == TableFormat::kMoesim ? std::nullopt : read_communication(path);
    if (table) {
      communication.push_back(*std::move(table));
    } else if (!communication.empty()) {
      throw ConfigError({path, ""},
                        "expected another table of communication, found one of kernels: they make profiles "
                        "of two kinds");
    }
  }
  if (communication.empty()) {
    calibrate_kernels(options);
  } else if (communication.size() == options.tables.size()) {
    calibrate_communication(options, communication);
  } else {
    throw ConfigError({options.tables.front(), ""},
                      "expected a table of communication like others given, found one of "
                      "kernels: they make profiles of two kinds");
  }
}

}  // namespace

void add_calibrate(CLI::App& app) {
  auto options = std::make_shared<CalibrateOptions>();
  CLI::App* command = app.add_subcommand("calibrate", "Fit a profile of kernel costs to measurements");
  command
      ->add_option("tables", options->tables,
                   "Measured latencies of one GPU: CSV or CSV.gz as aiconfigurator writes them")
      ->required();
  command
      ->add_option("-o,--output", options->output,
                   "Where to write the profile (moesim.fitted-profile/1; of tables of communication: "
                   "moesim.profile/1)")
      ->required();
  command->add_option("--name", options->name, "The profile's name (default: that of the output file)");
  command->add_option("--gpu", options->gpu, "Accelerator of the tables (default: what they or their folders name)");
  command->add_option("--source", options->source, "Where the measurements come from, to be noted in the profile");
  command->add_option("--base", options->base,
                      "Profile for what is not in the tables; for tables of communication: whose terms are replaced "
                      "(default: roofline)");
  command->add_option("--folds", options->folds, "Folds of the validation")->check(CLI::Range(2, 20));
  add_table_format(*command, options->table_format);
  options->add_threads(*command);
  options->add_out(*command);
  options->add_format(*command);
  command->callback([options] { calibrate_tables(*options); });
}

}  // namespace moesim
