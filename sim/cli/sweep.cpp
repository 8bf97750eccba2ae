#include <fmt/format.h>
#include <unistd.h>

#include <memory>

#include "sim/cli/commands.hpp"
#include "sim/cli/deliver.hpp"
#include "sim/cli/document_argument.hpp"
#include "sim/config/decode.hpp"
#include "sim/config/document.hpp"
#include "sim/report/sweep_report.hpp"

namespace moesim {

namespace {

struct SweepOptions : CommonOptions {
  std::string sweep;
};

/// On a terminal only: a line that is written over, and gone in the end.
void show_progress(std::size_t done, std::size_t all) {
  if (isatty(STDERR_FILENO) == 0) {
    return;
  }
  if (done < all) {
    fmt::print(stderr, "\r{} of {} combinations ", done, all);
  } else {
    fmt::print(stderr, "\r\x1b[K");
  }
}

void sweep(const SweepOptions& options) {
  const Document document = read_document_argument(options.sweep, "sweep", sweep_catalogue(), options.assignments);
  auto config = decode_document<SweepConfig>(document);
  if (options.seed) {
    config.set["/seed"] = *options.seed;
  }
  const TaskPool pool(options.thread_count());
  Sweep result = run_sweep(config, {document.name(), {}}, pool, show_progress);
  put_first(document, result.inputs);
  Delivery delivery{options.wants_json() ? sweep_json(result) : Json(), sweep_table(result), result.warnings};
  if (!options.out.empty()) {
    delivery.files.emplace_back("points.csv", sweep_csv(result));
  }
  deliver(options, delivery);
}

}  // namespace

void add_sweep(CLI::App& app) {
  auto options = std::make_shared<SweepOptions>();
  CLI::App* command = app.add_subcommand("sweep", "Simulate a scenario under all combinations of values");
  command->add_option("sweep", options->sweep, "A moesim.sweep/1 file, or the name of one that comes with the program")
      ->required();
  options->add_simulation(*command);
  command->callback([options] { sweep(*options); });
}

}  // namespace moesim
