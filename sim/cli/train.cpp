#include <fmt/format.h>

#include <memory>
#include <optional>

#include "sim/cli/commands.hpp"
#include "sim/cli/deliver.hpp"
#include "sim/cli/document_argument.hpp"
#include "sim/config/decode.hpp"
#include "sim/config/document.hpp"
#include "sim/report/training_report.hpp"

namespace moesim {

namespace {

struct TrainOptions : CommonOptions {
  std::string training;
  std::optional<Fidelity> fidelity;
  bool timing = false;
};

void train(const TrainOptions& options) {
  const Stopwatch stopwatch;
  const Document document =
      read_document_argument(options.training, "training", training_catalogue(), options.assignments);
  auto training = decode_document<Training>(document);
  if (options.seed) {
    training.seed = *options.seed;
  }
  training.fidelity = options.fidelity.value_or(training.fidelity);
  const TaskPool pool(options.thread_count());
  TrainingResult result = run_training(training, {document.name(), {}}, pool);
  put_first(document, result.inputs);
  Delivery delivery{training_json(result), training_table(result), result.warnings};
  if (!options.out.empty()) {
    delivery.files.emplace_back("timeline.json", pipeline_trace(result));
  }
  if (options.timing) {
    stopwatch.add_to(delivery.json);
    delivery.table += fmt::format("\nsimulated in {:.3f} s of wall-clock time\n", stopwatch.seconds());
  }
  deliver(options, delivery);
}

}  // namespace

void add_train(CLI::App& app) {
  auto options = std::make_shared<TrainOptions>();
  CLI::App* command = app.add_subcommand("train", "Simulate one training step");
  command
      ->add_option("training", options->training,
                   "A moesim.training/1 file, or the name of one that comes with the program")
      ->required();
  add_fidelity(*command, options->fidelity,
               "flow: transfers share links; bound: each link by itself, for speed (default: what the training says)");
  options->add_simulation(*command);
  command->add_flag("--timing", options->timing, "Also say how long the simulation itself took");
  command->callback([options] { train(*options); });
}

}  // namespace moesim
