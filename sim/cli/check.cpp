#include <fmt/format.h>

#include <memory>

#include "sim/cli/commands.hpp"
#include "sim/cli/document_argument.hpp"
#include "sim/cli/kinds.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/scenario/run.hpp"

namespace moesim {

namespace {

/// Scenarios come first: names of other kinds may be checked, too.
const Catalogue& catalogue_with(const std::string& name) {
  for (const Kind& kind : kinds()) {
    if (kind.catalogue != nullptr && !scenario_catalogue().contains(name) && kind.catalogue()->contains(name)) {
      return *kind.catalogue();
    }
  }
  return scenario_catalogue();
}

}  // namespace

void add_check(CLI::App& app, int& exit_code) {
  auto file = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("check", "Say whether a file is valid, and if not what is wrong with it");
  command
      ->add_option("file", *file,
                   "A file of any kind that `moesim schema` knows, or the name of what comes with the program")
      ->required();
  command->callback([file, &exit_code] {
    const Document document = read_document_argument(*file, "scenario", catalogue_with(*file), {});
    try {
      fmt::print("{}: a valid {}\n", *file, check_document(document));
    } catch (const ConfigError& error) {
      for (const auto& diagnostic : error.diagnostics()) {
        fmt::print("{}\n", diagnostic.text());
      }
      exit_code = kCheckFailed;
    } catch (const ModelError& error) {
      fmt::print("{}: {}\n", *file, error.what());
      exit_code = kCheckFailed;
    }
  });
}

}  // namespace moesim
