#include "sim/planning/trace_parts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "sim/core/error.hpp"

namespace moesim {

TraceParts split_in_time(const TokenTrace& trace, double share) {
  const std::size_t tokens = trace.shape().tokens;
  if (tokens < 2) {
    throw ConfigError({trace.name(), {}},
                      "expected at least two tokens, to divide into an earlier and a later part, "
                      "found one");
  }
  const auto wanted = static_cast<std::size_t>(std::llround(share * static_cast<double>(tokens)));
  const std::size_t middle = std::clamp<std::size_t>(wanted, 1, tokens - 1);
  return {{0, middle}, {middle, tokens}};
}

StepRouting take_step(const TokenTrace& trace, TracePart part, std::size_t tokens, TakeTokens how) {
  StepRouting step;
  step.shape = trace.shape();
  step.shape.tokens = tokens;
  step.choices.resize(step.shape.layers * tokens * step.shape.k);
  for (std::size_t t = 0; t < tokens; ++t) {
    const bool spread = how == TakeTokens::kSpread && tokens <= part.size();
    const std::size_t token = part.begin + (spread ? t * part.size() / tokens : t % part.size());
    for (std::size_t layer = 0; layer < step.shape.layers; ++layer) {
      trace.read(token, layer, std::span(step.choices).subspan((layer * tokens + t) * step.shape.k, step.shape.k));
    }
  }
  if (tokens > part.size()) {
    step.warnings.push_back(fmt::format("{}: a step of {} tokens takes each of {} recorded tokens {:.1f} times",
                                        trace.name(), tokens, part.size(),
                                        static_cast<double>(tokens) / static_cast<double>(part.size())));
  }
  return step;
}

std::vector<double> loads_of_part(const TokenTrace& trace, TracePart part) {
  const RoutingShape& shape = trace.shape();
  std::vector<double> loads(shape.layers * shape.experts, 0.0);
  std::vector<ExpertIndex> row(shape.k);
  for (std::size_t token = part.begin; token < part.end; ++token) {
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      trace.read(token, layer, row);
      for (const ExpertIndex expert : row) {
        if (expert != kNoExpert) {
          loads[layer * shape.experts + expert] += 1.0;
        }
      }
    }
  }
  return loads;
}

}  // namespace moesim
