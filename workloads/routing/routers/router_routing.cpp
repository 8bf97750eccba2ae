#include "workloads/routing/routers/router_routing.hpp"

#include <fmt/format.h>

#include "sim/config/codec.hpp"

namespace moesim {

template struct DescribedCodec<RouterRouting>;

namespace {

RouterChoice choice_of(const RouterRouting& config, const RoutingNeeds& needs, const Place& place) {
  if (config.gate) {
    return *config.gate;
  }
  if (needs.router.empty()) {
    throw ConfigError(place, "expected the key \"gate\", since there is no model that says its router; found none");
  }
  return router_by_name(needs.router, place);
}

}  // namespace

MadeRouter make_router(const RouterRouting& config, const RoutingNeeds& needs, const Place& place,
                       const TaskPool& pool) {
  if (needs.experts > kNoExpert) {
    throw ConfigError(place, fmt::format("expected at most {} experts, found {}", kNoExpert, needs.experts));
  }
  if (config.scores && config.training) {
    throw ConfigError(place, "expected either \"scores\" or \"training\", which needs the token model; found both");
  }
  const RouterChoice choice = choice_of(config, needs, place);
  RouterSource::Parts parts;
  parts.name = choice.entry->name;
  parts.phase = config.phase;
  parts.shape = {.tokens = 0, .layers = needs.moe_layers, .k = needs.k, .experts = needs.experts};
  RouterContext context{.experts = needs.experts, .k = needs.k, .groups = needs.groups};
  context.groups_per_token = needs.groups_per_token;
  context.layers = needs.moe_layers;
  context.capacity_factor = needs.capacity_factor;
  context.seed = config.tokens.seed;
  context.place = place;
  MadeRouter made;
  if (config.scores) {
    parts.router = choice.make(context);
    parts.scores = std::make_unique<FileScores>(config.scores->resolved, needs.moe_layers, needs.experts);
  } else {
    parts.model = std::make_shared<const TokenModel>(config.tokens);
    context.vocabulary = &parts.model->vocabulary();
    parts.router = choice.make(context);
    GateMatrix gates = GateMatrix::untrained(needs.moe_layers, config.tokens.width, needs.experts,
                                             config.tokens.sharpness, config.tokens.seed);
    if (config.training) {
      made.training = train(*parts.model, gates, *parts.router, *config.training, config.tokens.seed, pool);
      parts.training = fmt::format(", trained for {} steps", config.training->steps);
    }
    parts.bias = gates.bias;
    const double jitter = config.phase == RouterPhase::kTraining ? parts.router->input_jitter() : 0.0;
    parts.scores = std::make_unique<ModelledScores>(parts.model, std::move(gates), jitter);
  }
  made.source = std::make_unique<RouterSource>(std::move(parts));
  return made;
}

}  // namespace moesim
