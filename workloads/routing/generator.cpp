#include "workloads/routing/generator.hpp"

#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "sim/config/codec.hpp"
#include "sim/config/decode.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"

namespace moesim {

template struct DescribedCodec<GeneratorParameters>;

namespace {

/// S(z) = ((e^{h·z} − 1)/h − mean)/sd: a shifted log-normal of mean 0 and variance 1; z itself at h = 0. Moments of
/// e^{h·z}: mean e^{h²/2}, variance e^{h²}·(e^{h²} − 1).
double skewed(double z, double h) {
  constexpr double kStraight = 1e-6;
  if (std::abs(h) < kStraight) {
    return z;
  }
  const double square = h * h;
  const double scale = std::exp(0.5 * square) * std::sqrt(std::expm1(square));
  return std::copysign(1.0, h) * (std::exp(h * z) - std::exp(0.5 * square)) / scale;
}

using Loads = std::vector<std::vector<double>>;

/// A figure for each layer and expert, or none at all.
void check_popularity_of(const Loads& loads, const GeneratorParameters& parameters, const Place& place) {
  for (std::size_t layer = 0; layer < loads.size(); ++layer) {
    if (loads[layer].size() != parameters.experts) {
      throw ConfigError({place.file, fmt::format("{}/{}", place.pointer, layer)},
                        fmt::format("expected a figure for each of the {} experts, found {}", parameters.experts,
                                    loads[layer].size()));
    }
  }
  if (!loads.empty() && loads.size() != parameters.spread.size()) {
    throw ConfigError(place, fmt::format("expected figures for each of the {} layers of spread, found {}",
                                         parameters.spread.size(), loads.size()));
  }
}

/// Inclusion probabilities by fitted loads; empty where there are none of that shape.
std::vector<double> fitted_inclusion(const Loads& loads, const GeneratorParameters& parameters,
                                     const RoutingShape& shape) {
  const bool of_that_shape = loads.size() == shape.layers && parameters.experts == shape.experts;
  return of_that_shape ? inclusion_from_loads(loads, shape.k) : std::vector<double>();
}

}  // namespace

GeneratorParameters decode_generator(const Document& document) {
  auto parameters = decode_document<GeneratorParameters>(document);
  if (parameters.block_spread.size() != parameters.spread.size()) {
    throw ConfigError({document.name(), "/block_spread"},
                      fmt::format("expected a figure for each of the {} layers of spread, found {}",
                                  parameters.spread.size(), parameters.block_spread.size()));
  }
  check_popularity_of(parameters.popularity, parameters, {document.name(), "/popularity"});
  check_popularity_of(parameters.popularity_in_sequences, parameters, {document.name(), "/popularity_in_sequences"});
  if (parameters.popularity.empty() && !parameters.popularity_in_sequences.empty()) {
    throw ConfigError({document.name(), "/popularity_in_sequences"}, "expected popularity beside it, found none");
  }
  return parameters;
}

std::string encode_generator(const GeneratorParameters& parameters) {
  const Json json = Codec<GeneratorParameters>::encode(parameters);
  std::string text = "{";
  for (const auto& [key, value] : json.items()) {
    const bool loads = key == "popularity" || key == "popularity_in_sequences";
    if ((loads && value.empty()) || (key == "sequence_tokens" && parameters.popularity_in_sequences.empty())) {
      continue;
    }
    text += (text.size() == 1 ? "\n  " : ",\n  ") + Json(key).dump() + ": ";
    if (loads) {
      std::string rows;
      for (const Json& row : value) {
        rows += (rows.empty() ? "[\n    " : ",\n    ") + row.dump();
      }
      text += rows + "]";
      continue;
    }
    if (key != "provenance") {
      text += value.dump();
      continue;
    }
    std::string inner = "{";
    for (const auto& [name, part] : value.items()) {
      inner += (inner.size() == 1 ? "\n    " : ",\n    ") + Json(name).dump() + ": ";
      if (!part.is_array() || part.empty()) {
        inner += part.dump();
        continue;
      }
      std::string list;
      for (const Json& entry : part) {
        list += (list.empty() ? "[\n      " : ",\n      ") + entry.dump();
      }
      inner += list + "]";
    }
    text += inner + "\n  }";
  }
  return text + "\n}\n";
}

std::vector<double> draw_inclusion(const GeneratorParameters& parameters, const RoutingShape& shape,
                                   std::uint64_t popularity_seed) {
  const std::size_t blocks = shape.experts % parameters.blocks == 0 ? parameters.blocks : 1;
  const double memory = parameters.block_correlation;
  std::vector<double> inclusion = fitted_inclusion(parameters.popularity, parameters, shape);
  if (!inclusion.empty()) {
    return inclusion;
  }
  std::vector<double> loads(shape.experts);
  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    const std::size_t like = layer * parameters.spread.size() / shape.layers;
    RandomStream random(popularity_seed, "routing.popularity", layer);
    double block = random.normal();
    for (std::size_t e = 0; e < shape.experts; ++e) {
      if (e > 0 && e % (shape.experts / blocks) == 0) {
        block = memory * block + std::sqrt(1.0 - memory * memory) * random.normal();
      }
      loads[e] = std::exp((blocks > 1 ? parameters.block_spread[like] * block : 0.0) +
                          parameters.spread[like] * skewed(random.normal(), parameters.skew));
    }
    const std::vector<double> row = inclusion_from_loads(loads, shape.k);
    inclusion.insert(inclusion.end(), row.begin(), row.end());
  }
  return inclusion;
}

std::vector<double> inclusion_in_sequences(const GeneratorParameters& parameters, const RoutingShape& shape) {
  return fitted_inclusion(parameters.popularity_in_sequences, parameters, shape);
}

GeneratedSource generated_source(const GeneratorParameters& parameters, const RoutingShape& shape, GroupLimit limit,
                                 std::uint64_t seed, std::string provenance) {
  const GeneratedSource source(shape, draw_inclusion(parameters, shape, seed), parameters.correlation, limit, seed,
                               std::move(provenance));
  return source.with_sequences(inclusion_in_sequences(parameters, shape), parameters.sequence_tokens);
}

}  // namespace moesim
