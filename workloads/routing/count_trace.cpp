#include "workloads/routing/count_trace.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "sim/config/codec.hpp"
#include "sim/config/decode.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "workloads/routing/formats/recording.hpp"

namespace moesim {

namespace {

constexpr std::size_t kMostCounted = std::size_t{1} << 16;

struct CountsFile {
  std::vector<std::vector<double>> logical_count;

  template <class F>
  static void describe(F& f) {
    constexpr double kMost = 0x1p53;  // whole numbers up to here are exact, and their sums finite
    f.required("logical_count", &CountsFile::logical_count, "Tokens that each expert received, [layers][experts]",
               Rules::between(0, kMost));
  }
};

struct StepCountsFile {
  std::vector<std::vector<std::vector<double>>> logical_count;

  template <class F>
  static void describe(F& f) {
    constexpr double kMost = 0x1p53;
    f.required("logical_count", &StepCountsFile::logical_count, "The same for each step, [steps][layers][experts]",
               Rules::between(0, kMost));
  }
};

/// Are the counts of steps, [steps][layers][experts]?
bool has_steps(const Document& document) {
  const Json& root = document.root();
  if (!root.is_object() || !root.contains("logical_count")) {
    return false;
  }
  const Json* inner = &root.at("logical_count");
  for (int depth = 0; depth < 2; ++depth) {
    if (!inner->is_array() || inner->empty()) {
      return false;
    }
    inner = &inner->front();
  }
  return inner->is_array();
}

/// Appends [layers][experts], all of the same size, to the steps.
void append_step(StepCounts& steps, const std::vector<std::vector<double>>& rows, const std::string& pointer) {
  const Place place{steps.place.file, pointer};
  if (rows.empty() || rows.front().empty()) {
    throw ConfigError(place, "expected counts [layers][experts], found none");
  }
  if (steps.steps++ == 0) {
    steps.layers = rows.size();
    steps.experts = rows.front().size();
  }
  if (steps.experts > kMostCounted) {
    throw ConfigError(place, fmt::format("expected at most {} experts, found {}", kMostCounted, steps.experts));
  }
  if (rows.size() != steps.layers) {
    throw ConfigError(place,
                      fmt::format("expected {} layers, as in the first step, found {}", steps.layers, rows.size()));
  }
  for (std::size_t row = 0; row < rows.size(); ++row) {
    if (rows[row].size() != steps.experts) {
      throw ConfigError(
          {steps.place.file, fmt::format("{}/{}", pointer, row)},
          fmt::format("expected {} experts, as in the first layer, found {}", steps.experts, rows[row].size()));
    }
    steps.counts.insert(steps.counts.end(), rows[row].begin(), rows[row].end());
  }
}

}  // namespace

CountTrace counts_from_json(const Document& document) {
  StepCounts steps{.place = {document.name(), "/logical_count"}, .counts = {}};
  if (has_steps(document)) {
    for (const auto& rows : decode_document<StepCountsFile>(document).logical_count) {
      append_step(steps, rows, fmt::format("/logical_count/{}", steps.steps));
    }
  } else {
    append_step(steps, decode_document<CountsFile>(document).logical_count, "/logical_count");
  }
  return counts_of_steps(steps);
}

CountTrace read_counts(const std::filesystem::path& path) { return counts_of(open_recording(path)); }

CountTrace parse_counts(const std::string& name, std::string_view json) {
  return counts_from_json(Document::parse(name, json));
}

std::size_t most_steps(std::size_t layers, std::size_t experts) {
  constexpr std::size_t kMostCells = std::size_t{1} << 24;
  return std::max<std::size_t>(1, kMostCells / std::max<std::size_t>(1, layers * experts));
}

CountTrace counts_of_steps(const StepCounts& steps) {
  const auto cell = [&](std::size_t step, std::size_t layer) {
    return std::span(steps.counts).subspan((step * steps.layers + layer) * steps.experts, steps.experts);
  };
  const auto empty = [](std::span<const double> row) {
    return std::all_of(row.begin(), row.end(), [](double count) { return count == 0.0; });
  };
  CountTrace trace;
  trace.name = steps.place.file;
  trace.experts = steps.experts;
  std::vector<std::size_t> used;
  for (std::size_t layer = 0; layer < steps.layers; ++layer) {
    std::vector<double> sum(steps.experts, 0.0);
    for (std::size_t step = 0; step < steps.steps; ++step) {
      const auto row = cell(step, layer);
      std::transform(row.begin(), row.end(), sum.begin(), sum.begin(), std::plus<>{});
    }
    if (!empty(sum)) {  // else a dense layer
      used.push_back(layer);
      trace.counts.insert(trace.counts.end(), sum.begin(), sum.end());
      trace.file_layers.push_back(steps.layer_numbers.empty() ? layer : steps.layer_numbers.at(layer));
    }
  }
  trace.layers = used.size();
  if (trace.layers == 0) {
    throw ConfigError(steps.place, "expected at least one layer with tokens, found only zeros");
  }
  trace.steps = 0;
  for (std::size_t step = 0; step < steps.steps; ++step) {
    if (std::all_of(used.begin(), used.end(), [&](std::size_t layer) { return empty(cell(step, layer)); })) {
      continue;  // a place of the recorder's buffer that was never written
    }
    ++trace.steps;
    for (const std::size_t layer : used) {
      const auto row = cell(step, layer);
      trace.step_counts.insert(trace.step_counts.end(), row.begin(), row.end());
    }
  }
  if (trace.steps == 1) {
    trace.step_counts.clear();
  }
  return trace;
}

void check_counts(const CountTrace& counts, const RoutingNeeds& needs) {
  const Place place{counts.name, "/logical_count"};
  if (counts.experts != needs.experts) {
    throw ConfigError(place,
                      fmt::format("expected {} experts, as the model has, found {}", needs.experts, counts.experts));
  }
  if (counts.layers != needs.moe_layers) {
    throw ConfigError(place, fmt::format("expected counts of {} layers, as many as the model has MoE layers, found {} "
                                         "layers with tokens",
                                         needs.moe_layers, counts.layers));
  }
}

CountTrace count(const TokenTrace& trace) {
  const RoutingShape& shape = trace.shape();
  const IdScan& scan = trace.scan();
  if (scan.counts.empty()) {
    throw ConfigError({trace.name(), {}}, fmt::format("expected layers and experts of which there are few enough to "
                                                      "count them, found {} layers of {} experts",
                                                      shape.layers, shape.experts));
  }
  CountTrace result{.layers = shape.layers,
                    .experts = shape.experts,
                    .counts = std::vector<double>(shape.layers * shape.experts, 0.0),
                    .file_layers = {trace.file_layers().begin(), trace.file_layers().end()},
                    .name = trace.name(),
                    .k = shape.k,
                    .steps = scan.windows};
  for (std::size_t i = 0; i < scan.counts.size(); ++i) {
    result.counts[i % result.counts.size()] += static_cast<double>(scan.counts[i]);
  }
  if (scan.windows > 1) {
    result.step_counts.assign(scan.counts.begin(), scan.counts.end());
  }
  return result;
}

}  // namespace moesim
