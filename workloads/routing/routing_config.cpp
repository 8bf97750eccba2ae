#include "workloads/routing/routing_config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "workloads/routing/drawn_source.hpp"
#include "workloads/routing/generator.hpp"
#include "workloads/routing/recorded_source.hpp"

namespace moesim {

namespace {

GroupLimit limit_of(const RoutingNeeds& needs) {
  if (needs.groups_per_token >= needs.groups) {
    return {};
  }
  return {needs.groups, needs.groups_per_token};
}

RoutingShape shape_of(const RoutingNeeds& needs) {
  return {.tokens = 0, .layers = needs.moe_layers, .k = needs.k, .experts = needs.experts};
}

/// What no source can serve, whatever the configuration.
void check_needs(const RoutingNeeds& needs, const Place& place) {
  if (needs.k == 0 || needs.k > needs.experts || needs.experts > kNoExpert || needs.moe_layers == 0) {
    throw ConfigError(place,
                      fmt::format("expected a model with MoE layers of at most 65535 experts that sends tokens to "
                                  "some of them, found {} layers of {} experts, k = {}",
                                  needs.moe_layers, needs.experts, needs.k));
  }
  if (limit_of(needs).limits()) {
    if (needs.groups > kMostGroups || needs.groups_per_token > kMostGroupsPerToken || needs.groups_per_token == 0 ||
        needs.experts % needs.groups != 0) {
      throw ConfigError(
          place, fmt::format("expected at most {} groups that divide the {} experts, and 1 to {} of them per "
                             "token, found {} and {}",
                             kMostGroups, needs.experts, kMostGroupsPerToken, needs.groups, needs.groups_per_token));
    }
    if (needs.experts / needs.groups * needs.groups_per_token < needs.k) {
      throw ConfigError(place,
                        fmt::format("expected {} groups of {} experts to hold the {} experts of a token, found too "
                                    "few",
                                    needs.groups_per_token, needs.experts / needs.groups, needs.k));
    }
  }
}

using Made = std::unique_ptr<RoutingSource>;

Made make(const TraceRouting& config, const RoutingNeeds& needs, const Place&) {
  return std::make_unique<RecordedSource>(open_trace(config, needs));
}

Made make(const CountsRouting& config, const RoutingNeeds& needs, const Place&) {
  return source_of_counts(read_counts(config.path.resolved), needs);
}

Made make(const GeneratorRouting& config, const RoutingNeeds& needs, const Place& place) {
  if (config.name.has_value() == config.file.has_value()) {
    throw ConfigError({place.file, place.pointer + "/generator"},
                      fmt::format("expected either \"name\" or \"file\", found {}", config.name ? "both" : "neither"));
  }
  const GeneratorParameters parameters = decode_generator(
      config.name ? generator_catalogue().find(*config.name, {place.file, place.pointer + "/generator/name"})
                  : Document::read(config.file->resolved));
  const RoutingShape shape = shape_of(needs);
  std::string provenance = fmt::format("generated like {}", parameters.name);
  if (parameters.provenance) {
    provenance += fmt::format(" (fitted on {})", parameters.provenance->recording);
  }
  if (parameters.experts != needs.experts || parameters.experts_per_token != needs.k ||
      parameters.spread.size() != needs.moe_layers) {
    provenance += fmt::format("; that model has {} layers, {} experts, k = {}", parameters.spread.size(),
                              parameters.experts, parameters.experts_per_token);
  }
  return std::make_unique<GeneratedSource>(
      generated_source(parameters, shape, limit_of(needs), config.seed, std::move(provenance)));
}

Made make(const UniformRouting&, const RoutingNeeds& needs, const Place&) {
  return DrawnSource::uniform(shape_of(needs), limit_of(needs));
}

Made make(const BalancedRouting&, const RoutingNeeds& needs, const Place&) {
  return std::make_unique<BalancedSource>(shape_of(needs), limit_of(needs));
}

Made make(const PowerLawRouting& config, const RoutingNeeds& needs, const Place&) {
  // The range of loads is AIConfigurator's: 1 to 0.8·tokens, or 0.01 to 2 where there are few tokens.
  constexpr double kMostOfTokens = 0.8;
  const bool many = config.tokens * needs.k > needs.experts;
  const double smallest = many ? 1.0 : 0.01;
  const double largest = many ? std::max(smallest, kMostOfTokens * static_cast<double>(config.tokens)) : 2.0;
  std::vector<double> inclusion;
  for (std::size_t layer = 0; layer < needs.moe_layers; ++layer) {
    RandomStream random(config.seed, "routing.power-law", layer);
    const std::vector<double> row =
        inclusion_from_loads(power_law_loads(config.alpha, smallest, largest, needs.experts, random), needs.k);
    inclusion.insert(inclusion.end(), row.begin(), row.end());
  }
  return std::make_unique<DrawnSource>(shape_of(needs), inclusion, limit_of(needs),
                                       fmt::format("drawn from power-law loads, alpha = {}", config.alpha));
}

Made make(const RouterRouting& config, const RoutingNeeds& needs, const Place& place) {
  // Training is the only part that takes long; sources are made where no pool of tasks is at hand.
  return make_router(config, needs, {place.file, place.pointer + "/router"}, TaskPool(1)).source;
}

}  // namespace

TokenTrace open_trace(const TraceRouting& config, const std::optional<RoutingNeeds>& needs) {
  TraceOptions options;
  options.needs = needs;
  if (config.sequence_lengths) {
    options.sequence_lengths = config.sequence_lengths->resolved;
  }
  if (config.shape) {
    options.raw = RawTraceShape{config.shape->layers, config.shape->k, config.shape->experts, std::nullopt};
  }
  return TokenTrace::open(config.path.resolved, options);
}

std::vector<std::filesystem::path> files_of(const RoutingConfig& config) {
  std::vector<std::filesystem::path> paths;
  if (const auto* trace = std::get_if<TraceRouting>(&config)) {
    paths.push_back(trace->path.resolved);
    if (trace->sequence_lengths) {
      paths.push_back(trace->sequence_lengths->resolved);
    }
  } else if (const auto* counts = std::get_if<CountsRouting>(&config)) {
    paths.push_back(counts->path.resolved);
  } else if (const auto* generator = std::get_if<GeneratorRouting>(&config); generator != nullptr && generator->file) {
    paths.push_back(generator->file->resolved);
  } else if (const auto* router = std::get_if<RouterRouting>(&config); router != nullptr && router->scores) {
    paths.push_back(router->scores->resolved);
  }
  return paths;
}

std::unique_ptr<RoutingSource> source_of_counts(CountTrace counts, const RoutingNeeds& needs) {
  check_counts(counts, needs);
  return DrawnSource::from_counts(std::move(counts), needs.k, limit_of(needs));
}

std::unique_ptr<RoutingSource> make_routing_source(const RoutingConfig& config, const RoutingNeeds& needs,
                                                   const Place& place) {
  check_needs(needs, place);
  return std::visit([&](const auto& choice) { return make(choice, needs, place); }, config);
}

}  // namespace moesim
