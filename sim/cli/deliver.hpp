#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sim/cli/options.hpp"
#include "sim/scenario/run.hpp"

namespace moesim {

/// What a command hands over.
struct Delivery {
  Json json;  ///< read only where CommonOptions::wants_json()
  std::string table;
  std::vector<std::string> warnings;
  std::vector<std::pair<std::string, std::string>> files{};  ///< more for --out: name, text
};

/// Prints the table or the JSON document on stdout and warnings on stderr; with --out, writes result.json, result.txt
/// and the further files into that folder first, so that what is printed is also there. Throws ConfigError where a
/// file cannot be written.
void deliver(const CommonOptions& options, const Delivery& delivery);

/// The wall-clock time of a command, which --timing adds to its result.
class Stopwatch {
 public:
  [[nodiscard]] double seconds() const;
  /// Metric "simulation_time".
  void add_to(Json& json) const;

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

/// The document itself as an input, if it is a file.
std::optional<InputFile> input_of(const Document& document);
/// Before all others.
void put_first(const Document& document, std::vector<InputFile>& inputs);

}  // namespace moesim
