#include "workloads/routing/count_trace.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "sim/config/codec.hpp"
#include "sim/config/decode.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"

namespace moesim {

namespace {

struct CountsFile {
  std::vector<std::vector<double>> logical_count;

  template <class F>
  static void describe(F& f) {
    constexpr double kMost = 0x1p53;  // whole numbers up to here are exact, and their sums finite
    f.required("logical_count", &CountsFile::logical_count, "Tokens that each expert received, [layers][experts]",
               Rules::between(0, kMost));
  }
};

CountTrace from_document(const Document& document) {
  const auto file = decode_document<CountsFile>(document);
  CountTrace trace;
  trace.name = document.name();
  const Place place{document.name(), "/logical_count"};
  const auto& rows = file.logical_count;
  if (rows.empty() || rows.front().empty()) {
    throw ConfigError(place, "expected counts [layers][experts], found none");
  }
  trace.experts = rows.front().size();
  if (trace.experts > std::size_t{1} << 16) {
    throw ConfigError(place, fmt::format("expected at most 65536 experts, found {}", trace.experts));
  }
  for (std::size_t row = 0; row < rows.size(); ++row) {
    if (rows[row].size() != trace.experts) {
      throw ConfigError(
          {document.name(), fmt::format("/logical_count/{}", row)},
          fmt::format("expected {} experts, as in the first layer, found {}", trace.experts, rows[row].size()));
    }
    if (std::all_of(rows[row].begin(), rows[row].end(), [](double count) { return count == 0.0; })) {
      continue;  // a dense layer
    }
    trace.counts.insert(trace.counts.end(), rows[row].begin(), rows[row].end());
    trace.file_layers.push_back(row);
  }
  trace.layers = trace.file_layers.size();
  if (trace.layers == 0) {
    throw ConfigError(place, "expected at least one layer with tokens, found only zeros");
  }
  return trace;
}

}  // namespace

CountTrace read_counts(const std::filesystem::path& path) { return from_document(Document::read(path)); }

CountTrace parse_counts(const std::string& name, std::string_view json) {
  return from_document(Document::parse(name, json));
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
  CountTrace result{.layers = shape.layers,
                    .experts = shape.experts,
                    .counts = std::vector<double>(shape.layers * shape.experts, 0.0),
                    .file_layers = {trace.file_layers().begin(), trace.file_layers().end()},
                    .name = trace.name()};
  std::vector<ExpertIndex> row(shape.k);
  for (std::size_t token = 0; token < shape.tokens; ++token) {
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      trace.read(token, layer, row);
      for (const ExpertIndex expert : row) {
        result.counts[layer * shape.experts + expert] += 1.0;
      }
    }
  }
  return result;
}

}  // namespace moesim
