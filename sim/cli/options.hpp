#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "sim/config/document.hpp"
#include "sim/execute/fidelity.hpp"

namespace moesim {

enum class OutputFormat { kTable, kJson };

/// Options that all commands which read a document share.
struct CommonOptions {
  std::vector<std::string> assignments;  ///< --set
  std::optional<std::uint64_t> seed;
  std::size_t threads = 0;  ///< 0: as many as the machine has
  std::string out;
  OutputFormat format = OutputFormat::kTable;

  void add_set(CLI::App& command);
  void add_seed(CLI::App& command);
  void add_threads(CLI::App& command);
  void add_out(CLI::App& command);
  void add_format(CLI::App& command);
  /// All of these: what commands that simulate take.
  void add_simulation(CLI::App& command);
  [[nodiscard]] std::size_t thread_count() const;
  /// Whether anybody reads the JSON document: of a big cluster's links it takes longer than all else.
  [[nodiscard]] bool wants_json() const { return format == OutputFormat::kJson || !out.empty(); }
};

/// --fidelity, into a Fidelity or an optional one.
template <class T>
void add_fidelity(CLI::App& command, T& fidelity, const std::string& description) {
  std::map<std::string, Fidelity> names;
  for (const auto& [value, name] : EnumNames<Fidelity>::names) {
    names.emplace(name, value);
  }
  command.add_option("--fidelity", fidelity, description)
      ->transform(CLI::CheckedTransformer(names))
      ->option_text("flow|bound");
}

}  // namespace moesim
