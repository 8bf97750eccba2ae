#include <fmt/format.h>

#include <memory>
#include <optional>

#include "sim/cli/commands.hpp"
#include "sim/cli/deliver.hpp"
#include "sim/cli/document_argument.hpp"
#include "sim/config/decode.hpp"
#include "sim/config/document.hpp"
#include "sim/report/result_json.hpp"
#include "sim/report/step_table.hpp"
#include "sim/report/timeline.hpp"

namespace moesim {

namespace {

struct RunOptions : CommonOptions {
  std::string scenario;
  std::optional<Fidelity> fidelity;
  bool timing = false;
};

void run(const RunOptions& options) {
  const Stopwatch stopwatch;
  const Document document =
      read_document_argument(options.scenario, "scenario", scenario_catalogue(), options.assignments);
  Scenario scenario = decode_document<Scenario>(document);
  if (options.seed) {
    scenario.seed = *options.seed;
  }
  scenario.fidelity = options.fidelity.value_or(scenario.fidelity);
  const TaskPool pool(options.thread_count());
  StepResult result = run_step(scenario, {document.name(), {}}, pool);
  put_first(document, result.inputs);
  Delivery delivery{step_result_json(result, "run"), step_table(result), result.warnings};
  if (!options.out.empty()) {
    delivery.files.emplace_back("timeline.json", chrome_trace(result.execution));
  }
  if (options.timing) {
    stopwatch.add_to(delivery.json);
    delivery.table += fmt::format("\nsimulated in {:.3f} s of wall-clock time ({} events)\n", stopwatch.seconds(),
                                  result.execution.events);
  }
  deliver(options, delivery);
}

}  // namespace

void add_run(CLI::App& app) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = app.add_subcommand("run", "Simulate one step of a scenario");
  command
      ->add_option("scenario", options->scenario,
                   "A moesim.scenario/1 file, or the name of one that comes with the program")
      ->required();
  add_fidelity(*command, options->fidelity,
               "flow: transfers share links; bound: each link by itself, for speed (default: what the scenario says)");
  options->add_simulation(*command);
  command->add_flag("--timing", options->timing, "Also say how long the simulation itself took");
  command->callback([options] { run(*options); });
}

}  // namespace moesim
