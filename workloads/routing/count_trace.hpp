#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/config/document.hpp"
#include "workloads/routing/token_trace.hpp"
#include "workloads/routing/types.hpp"

namespace moesim {

/// How many tokens each expert received: what is left where the choices of single tokens were not kept.
struct CountTrace {
  std::size_t layers = 0;
  std::size_t experts = 0;
  std::vector<double> counts;            ///< [layers, experts]
  std::vector<std::size_t> file_layers;  ///< the file's row of each layer: dense layers (rows of zeros) are dropped
  std::string name;                      ///< the file
  std::optional<std::size_t> k = {};     ///< experts per token, where the recording tells
  std::size_t steps = 1;                 ///< recorded one after the other
  std::vector<double> step_counts = {};  ///< [steps, layers, experts]; empty where there is only the sum

  [[nodiscard]] std::span<const double> layer(std::size_t layer) const {
    return std::span(counts).subspan(layer * experts, experts);
  }
  bool operator==(const CountTrace&) const = default;
};

/// Counts from any of the formats in formats/; those of its tokens where choices were recorded. Throws ConfigError.
CountTrace read_counts(const std::filesystem::path& path);

/// SGLang's expert distribution statistics, {"logical_count": [layers][experts]}, or [steps][layers][experts]. Throws
/// ConfigError: not that shape, negative or non-finite counts, rows of different lengths, nothing but zeros.
CountTrace counts_from_json(const Document& document);
/// The same for a text; `name` stands for the file in messages.
CountTrace parse_counts(const std::string& name, std::string_view json);

/// Counts of single steps, as some reader found them.
struct StepCounts {
  Place place;  ///< for messages
  std::size_t steps = 0;
  std::size_t layers = 0;
  std::size_t experts = 0;
  std::vector<double> counts;                   ///< [steps, layers, experts]
  std::vector<std::size_t> layer_numbers = {};  ///< among all layers, where some were left out; else 0, 1, …
};
/// Leaves out layers and steps that hold nothing but zeros. Throws ConfigError where nothing is left.
CountTrace counts_of_steps(const StepCounts& steps);
/// Steps that are kept apart, so that the counts stay within some 128 MiB; neighbours beyond that are added up.
std::size_t most_steps(std::size_t layers, std::size_t experts);

/// Throws ConfigError unless the counts have the model's MoE layers and experts.
void check_counts(const CountTrace& counts, const RoutingNeeds& needs);

/// Counts of a recorded trace; its steps are equal stretches of tokens.
CountTrace count(const TokenTrace& trace);

}  // namespace moesim
