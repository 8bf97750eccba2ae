#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "workloads/routing/token_trace.hpp"
#include "workloads/routing/types.hpp"

namespace moesim {

/// How many tokens each expert received, summed over all recorded steps: what is left where the choices of single
/// tokens were not kept.
struct CountTrace {
  std::size_t layers = 0;
  std::size_t experts = 0;
  std::vector<double> counts;            ///< [layers, experts]
  std::vector<std::size_t> file_layers;  ///< the file's row of each layer: dense layers (rows of zeros) are dropped
  std::string name;                      ///< the file

  [[nodiscard]] std::span<const double> layer(std::size_t layer) const {
    return std::span(counts).subspan(layer * experts, experts);
  }
  bool operator==(const CountTrace&) const = default;
};

/// Reads {"logical_count": [layers][experts]} (SGLang's expert distribution statistics). Throws ConfigError: not that
/// shape, negative or non-finite counts, rows of different lengths, nothing but zeros.
CountTrace read_counts(const std::filesystem::path& path);
/// The same for a text; `name` stands for the file in messages.
CountTrace parse_counts(const std::string& name, std::string_view json);

/// Throws ConfigError unless the counts have the model's MoE layers and experts.
void check_counts(const CountTrace& counts, const RoutingNeeds& needs);

/// Counts of a recorded trace.
CountTrace count(const TokenTrace& trace);

}  // namespace moesim
