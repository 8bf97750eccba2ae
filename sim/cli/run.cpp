#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <memory>

#include "sim/cli/commands.hpp"
#include "sim/cli/options.hpp"
#include "sim/cli/scenario_argument.hpp"
#include "sim/core/file.hpp"
#include "sim/report/result_json.hpp"
#include "sim/report/step_table.hpp"
#include "sim/report/timeline.hpp"

namespace moesim {

namespace {

struct RunOptions : CommonOptions {
  std::string scenario;
  bool timing = false;
};

int run(const RunOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  const Document document = read_scenario_argument(options.scenario, options.assignments);
  Scenario scenario = decode_document<Scenario>(document);
  if (options.seed) {
    scenario.seed = *options.seed;
  }
  const TaskPool pool(options.thread_count());
  StepResult result = run_step(scenario, {document.name(), {}}, pool);
  if (!document.folder().empty() || std::filesystem::exists(document.name())) {
    result.inputs.insert(result.inputs.begin(), {document.name(), sha256(read_file(document.name()))});
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  Json json = step_result_json(result, "run");
  if (options.timing) {
    json["metrics"]["simulation_time"] = {{"value", took.count()},
                                          {"unit", "s"},
                                          {"definition", "wall-clock time from reading the scenario to the result"}};
  }
  const std::string text = json.dump(2) + '\n';
  if (!options.out.empty()) {
    const std::filesystem::path folder(options.out);
    write_file(folder / "result.json", text);
    write_file(folder / "result.txt", step_table(result));
    write_file(folder / "timeline.json", chrome_trace(result.execution));
  }
  for (const std::string& warning : result.warnings) {
    fmt::print(stderr, "warning: {}\n", warning);
  }
  if (options.format == OutputFormat::kJson) {
    fmt::print("{}", text);
  } else {
    fmt::print("{}", step_table(result));
    if (options.timing) {
      fmt::print("\nsimulated in {:.3f} s of wall-clock time ({} events)\n", took.count(), result.execution.events);
    }
  }
  return kDone;
}

}  // namespace

void add_run(CLI::App& app) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = app.add_subcommand("run", "Simulate one step of a scenario");
  command
      ->add_option("scenario", options->scenario,
                   "A moesim.scenario/1 file, or the name of one that comes with the program")
      ->required();
  options->add_set(*command);
  options->add_seed(*command);
  options->add_threads(*command);
  options->add_out(*command);
  options->add_format(*command);
  command->add_flag("--timing", options->timing, "Also say how long the simulation itself took");
  command->callback([options] { run(*options); });
}

}  // namespace moesim
