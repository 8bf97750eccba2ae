#include "sim/planning/placement_config.hpp"

#include <fmt/format.h>

#include <concepts>
#include <filesystem>
#include <span>
#include <utility>
#include <variant>

#include "sim/config/codec.hpp"
#include "sim/core/error.hpp"
#include "sim/core/suggest.hpp"
#include "workloads/routing/generator.hpp"

namespace moesim {

template struct DescribedCodec<PlacementComparisonConfig>;

std::span<const EmbeddedFile> comparison_files();

const Catalogue& comparison_catalogue() {
  static const Catalogue catalogue("comparison", comparison_files());
  return catalogue;
}

namespace {

RoutingConfig routing_of(const TraceName& trace, const Place& place) {
  std::error_code unused;
  if (std::filesystem::exists(trace.value.resolved, unused)) {
    if (trace.value.resolved.extension() == ".json") {
      return CountsRouting{trace.value};
    }
    return TraceRouting{trace.value, {}, {}};
  }
  const std::string& name = trace.value.written;
  if (generator_catalogue().contains(name)) {
    return GeneratorRouting{name, {}, 1};
  }
  throw ConfigError(place, fmt::format("expected a file or the name of a generator, found \"{}\", which is neither{}",
                                       name, suggestion(name, generator_catalogue().names())));
}

}  // namespace

Scenario scenario_of(const PlacementComparisonConfig& config, std::size_t trace, const Place& place) {
  Scenario scenario;
  scenario.name = config.name;
  scenario.description = config.description;
  scenario.model = config.model;
  scenario.cluster = config.cluster;
  scenario.kernels = config.kernels;
  scenario.precision = config.precision;
  scenario.parallelism = config.parallelism;
  scenario.step = config.step;
  scenario.dispatch = config.dispatch;
  scenario.seed = config.seed;
  scenario.placement.redundant_experts = config.redundant_experts;
  scenario.placement.replica_choice = config.replica_choice;
  scenario.routing = std::visit(
      [&]<class T>(const T& choice) -> RoutingConfig {
        if constexpr (std::same_as<T, TraceName>) {
          return routing_of(choice, {place.file, fmt::format("{}/traces/{}", place.pointer, trace)});
        } else {
          return choice;
        }
      },
      config.traces[trace]);
  return scenario;
}

ConfigError at_comparison(const ConfigError& error, std::size_t trace) {
  const std::pair<std::string_view, std::string> kMoved[] = {
      {"/placement/redundant_experts", "/redundant_experts"},
      {"/placement/replica_choice", "/replica_choice"},
      {"/routing", fmt::format("/traces/{}", trace)},
  };
  std::vector<Diagnostic> faults = error.diagnostics();
  for (Diagnostic& fault : faults) {
    for (const auto& [from, to] : kMoved) {
      if (fault.place.pointer.starts_with(from)) {
        fault.place.pointer = to + fault.place.pointer.substr(from.size());
        break;
      }
    }
  }
  return ConfigError(std::move(faults));
}

std::string trace_label(const TraceChoice& trace) {
  return std::visit(
      []<class T>(const T& choice) -> std::string {
        if constexpr (std::same_as<T, TraceName>) {
          return choice.value.written;
        } else if constexpr (std::same_as<T, TraceRouting> || std::same_as<T, CountsRouting>) {
          return choice.path.written;
        } else if constexpr (std::same_as<T, GeneratorRouting>) {
          return choice.name ? *choice.name : choice.file ? choice.file->written : std::string(T::kTag);
        } else {
          return std::string(T::kTag);
        }
      },
      trace);
}

}  // namespace moesim
