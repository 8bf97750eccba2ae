#pragma once

#include <memory>
#include <string>
#include <vector>

#include "sim/cli/options.hpp"
#include "workloads/routing/formats/recording.hpp"

namespace moesim {

/// Options of the `trace` commands.
struct TraceArguments : CommonOptions {
  std::string file;
  std::string from;
  std::string output;
  std::string sequence_lengths;
  std::string hold_back;
  std::string against;
  bool law = false;
  bool dropped = false;
  std::string name;
  std::string source;
  std::string licence;
  std::size_t top_k = 0;
  std::size_t pairs = 0;
  std::size_t batch_tokens = 0;
  std::vector<std::size_t> raw_shape;

  [[nodiscard]] TraceOptions trace_options() const;
  /// The recording, and k beside counts that do not tell it. Throws ConfigError.
  [[nodiscard]] Recording open() const;
  [[nodiscard]] std::optional<std::size_t> k_of(const CountTrace& counts) const;
  void add_reading(CLI::App& command);
  void add_top_k(CLI::App& command);
  void add_dropped(CLI::App& command);
};

void add_trace_info(CLI::App& trace, const std::shared_ptr<TraceArguments>& arguments);

}  // namespace moesim
