#pragma once

#include <optional>

#include "sim/config/describe.hpp"
#include "workloads/routing/routers/registry.hpp"
#include "workloads/routing/routers/router_source.hpp"
#include "workloads/routing/routers/token_model.hpp"
#include "workloads/routing/routers/training.hpp"

namespace moesim {

/// A router that makes the decisions, on scores of modelled text or of a file.
struct RouterRouting {
  static constexpr std::string_view kTag = "router";
  std::optional<RouterChoice> gate;
  RouterPhase phase = RouterPhase::kInference;
  TokenModelOptions tokens;
  std::optional<FilePath> scores;
  std::optional<TrainingOptions> training;

  static constexpr std::string_view kDoc = "Choices made by a router, on scores of modelled text or on given ones";
  template <class F>
  static void describe(F& f) {
    f.optional("gate", &RouterRouting::gate, "`moesim list routers`, by name or with options; absent: the model's");
    f.optional("phase", &RouterRouting::phase, "Whether it draws, jitters and drops as in training");
    f.optional("tokens", &RouterRouting::tokens, "The text that it routes");
    f.optional("scores", &RouterRouting::scores,
               ".npy of logits [tokens, layers, experts] instead of the text's; token i has row i mod tokens");
    f.optional("training", &RouterRouting::training, "Trains the routers for balance first");
  }
};
extern template struct DescribedCodec<RouterRouting>;

/// A router ready to route, and how its training went.
struct MadeRouter {
  std::unique_ptr<RouterSource> source;
  std::optional<TrainingLog> training;
};

/// Throws ConfigError at `place` where the fault is in the configuration, else at the file of scores; ModelError.
MadeRouter make_router(const RouterRouting& config, const RoutingNeeds& needs, const Place& place,
                       const TaskPool& pool);

}  // namespace moesim
