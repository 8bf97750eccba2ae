#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "sim/cli/commands.hpp"
#include "sim/cli/trace_arguments.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "workloads/routing/fit.hpp"
#include "workloads/routing/write_trace.hpp"

namespace moesim {

namespace {

/// Why no part of a recording was held back from the fit, or what was found when it was.
struct HeldBack {
  std::string why_not;
  std::vector<FitCheck> checks;
};

HeldBack held_back(const TraceArguments& arguments, const Recording& recording, const FitOptions& options,
                   const TaskPool& pool) {
  if (!arguments.against.empty()) {
    return {{}, check_against(recording, open_recording(arguments.against, arguments.trace_options()), options, pool)};
  }
  const TokenTrace* trace = recording.tokens();
  HoldBack how = arguments.hold_back == "time" ? HoldBack::kTime : HoldBack::kSequences;
  if (arguments.hold_back == "none") {
    return {"as asked for", {}};
  }
  if (trace == nullptr && std::get<CountTrace>(recording.data).steps < 2) {
    return {"these are counts of one step; --against compares with another recording", {}};
  }
  constexpr std::size_t kFewestTokens = 32;
  if (trace != nullptr && trace->shape().tokens < kFewestTokens) {
    return {"there are too few tokens", {}};
  }
  if (trace != nullptr && arguments.hold_back.empty() && trace->sequence_starts().size() < 2) {
    how = HoldBack::kTime;
  }
  return {{}, check_held_back(recording, options, how, pool)};
}

void print_checks(const std::vector<FitCheck>& checks) {
  fmt::print("  {:<68}  fitted part    held back    generated\n", "");
  for (const FitCheck& check : checks) {
    fmt::print(
        "  {:<68}  {:>11.4f}  {:>11.4f}  {:>11.4f}{}\n", check.quantity, check.fitted_part.value_or(0.0),
        check.recorded, check.generated,
        check.recorded > 0.0 ? fmt::format("  {:>+6.1f} %", 100.0 * (check.generated / check.recorded - 1.0)) : "");
  }
}

void fit_recording(const TraceArguments& arguments) {
  Recording recording = arguments.open();
  if (const TokenTrace* trace = recording.tokens(); trace != nullptr && trace->scan().dropped > 0) {
    // Which experts the dropped choices were for is not known, and so not what tokens have in common.
    fmt::print(stderr, "note: choices were dropped (-1): only loads are fitted, of those that were not\n");
    recording.data = count(*trace);
  }
  FitOptions options;
  options.name = arguments.name.empty() ? std::filesystem::path(arguments.file).stem().string() : arguments.name;
  options.source = arguments.source;
  options.licence = arguments.licence;
  options.popularity = arguments.law ? FitPopularity::kLaw : FitPopularity::kEachExpert;
  if (const auto* counts = std::get_if<CountTrace>(&recording.data)) {
    options.k = arguments.k_of(*counts);
    if (!options.k) {
      throw ConfigError({"--top-k", {}}, "expected the experts per token, which counts do not tell; found none");
    }
  }
  const TaskPool pool(arguments.thread_count());
  const HeldBack checked = held_back(arguments, recording, options, pool);
  GeneratorParameters parameters = fit(recording, options, pool);
  ensure(parameters.provenance.has_value(), "a fit that says where it comes from");
  fmt::print("{}: fitted to {} ({})\n", arguments.output, arguments.file, recording.format);
  for (const FitCheck& check : parameters.provenance->checks) {
    fmt::print("  {:<68}  recorded {:>9.4f}  generated {:>9.4f}\n", check.quantity, check.recorded, check.generated);
  }
  if (checked.checks.empty()) {
    fmt::print("no part was held back: {}\n", checked.why_not);
  } else {
    fmt::print("{}\n", arguments.against.empty()
                           ? "fitted to one part of the recording, compared with the part that was held back:"
                           : fmt::format("compared with {}:", arguments.against));
    print_checks(checked.checks);
  }
  auto& checks = parameters.provenance->checks;
  checks.insert(checks.end(), checked.checks.begin(), checked.checks.end());
  write_file(arguments.output, encode_generator(parameters));
}

}  // namespace

void add_trace(CLI::App& app) {
  CLI::App* trace = app.add_subcommand("trace", "Read, convert, fit and generate recordings of routing");
  trace->require_subcommand(1);
  auto arguments = std::make_shared<TraceArguments>();

  add_trace_info(*trace, arguments);

  CLI::App* convert_command =
      trace->add_subcommand("convert", "Rewrite a recording as .npy or .npz [tokens, layers, k], or as counts .json");
  arguments->add_reading(*convert_command);
  convert_command->add_option("-o,--output", arguments->output, "File to write, .npy, .npz or .json")->required();
  arguments->add_threads(*convert_command);
  convert_command->callback([arguments] {
    const Recording recording = arguments->open();
    write_trace(recording, arguments->output);
    fmt::print("{}: written from {} ({})\n", arguments->output, arguments->file, recording.format);
    for (const std::string& note : recording.notes) {
      fmt::print(stderr, "note: {}\n", note);
    }
  });

  CLI::App* fit_command = trace->add_subcommand("fit", "Parameters of a generator that routes like a recording");
  arguments->add_reading(*fit_command);
  fit_command->add_option("-o,--output", arguments->output, "File to write, .json")->required();
  arguments->add_top_k(*fit_command);
  arguments->add_dropped(*fit_command);
  fit_command->add_option("--name", arguments->name, "Name of the parameters");
  fit_command->add_option("--source", arguments->source, "Where the recording was published");
  fit_command->add_option("--licence", arguments->licence, "Its licence");
  fit_command
      ->add_option("--hold-back", arguments->hold_back,
                   "What is held back to compare with: every other sequence or step, the later half in time, nothing "
                   "(default: sequences where they are known, else time)")
      ->check(CLI::IsMember({"sequences", "time", "none"}));
  fit_command->add_option("--against", arguments->against,
                          "Another recording of the same model, to compare with instead");
  fit_command->add_flag("--law", arguments->law,
                        "Keep how uneven loads are, not each expert's: every seed is another imaginary model");
  arguments->add_threads(*fit_command);
  fit_command->callback([arguments] { fit_recording(*arguments); });

  add_trace_generate(*trace);
}

}  // namespace moesim
