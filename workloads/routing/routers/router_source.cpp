#include "workloads/routing/routers/router_source.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace moesim {

namespace {

constexpr std::size_t kIndependentTokens = 256;  ///< routed at once where each token is by itself
constexpr double kMostChoices = 4e9;

/// One block of tokens in all layers.
struct BlockResult {
  std::vector<RoutedTokens> layers;
};

std::size_t unserved(const RoutedTokens& routed, std::size_t tokens) {
  std::size_t count = 0;
  for (std::size_t t = 0; t < tokens; ++t) {
    const auto chosen = routed.token(t);
    count += std::all_of(chosen.begin(), chosen.end(), [](ExpertIndex e) { return e == kNoExpert; }) ? 1 : 0;
  }
  return count;
}

}  // namespace

StepRouting RouterSource::draw(const TokenBatch& batch, std::uint64_t seed, const TaskPool& pool) const {
  const std::size_t tokens = batch.tokens.size();
  const TokenRouter& router = *parts_.router;
  const std::size_t group = std::min(router.group_tokens(tokens), std::max<std::size_t>(tokens, 1));
  const std::size_t each = group > 1 ? group : kIndependentTokens;
  const std::size_t blocks = (tokens + each - 1) / each;
  const auto scored = parts_.scores->tokens(batch, seed, pool);
  const std::size_t experts = parts_.shape.experts;

  std::vector<BlockResult> results(blocks);
  pool.for_each_index(blocks, [&](std::size_t b) {
    RouterInput input{.tokens = std::min(each, tokens - b * each), .experts = experts, .scores = {}};
    const auto part = [&](std::span<const std::uint32_t> all) {
      return all.empty() ? all : all.subspan(b * each, input.tokens);
    };
    input.token_ids = part(scored->ids());
    input.tasks = part(scored->tasks());
    input.phase = parts_.phase;
    input.weights = GateWeights::kNotWanted;
    std::vector<float> scores(input.tokens * experts);
    input.scores = scores;
    const auto block = scored->block(b * each, input.tokens);
    results[b].layers.resize(parts_.shape.layers);
    for (std::size_t layer = 0; layer < parts_.shape.layers; ++layer) {
      block->next_layer(scores);
      input.layer = layer;
      input.bias =
          parts_.bias.empty() ? std::span<const float>{} : std::span(parts_.bias).subspan(layer * experts, experts);
      RandomStream random(seed, "router.step", b * parts_.shape.layers + layer);
      router.route(input, random, results[b].layers[layer]);
    }
  });

  StepRouting step;
  step.shape = parts_.shape;
  step.shape.tokens = tokens;
  step.shape.k = 1;
  for (const BlockResult& result : results) {
    for (const RoutedTokens& routed : result.layers) {
      step.shape.k = std::max(step.shape.k, routed.slots);
    }
  }
  const double choices = static_cast<double>(tokens) * static_cast<double>(step.shape.layers * step.shape.k);
  if (choices > kMostChoices) {
    throw ModelError(
        fmt::format("the router {} sends tokens to up to {} experts: {:.4g} choices are more than can be "
                    "held at once (at most {:.4g})",
                    parts_.name, step.shape.k, choices, kMostChoices));
  }
  step.choices.assign(step.shape.layers * tokens * step.shape.k, kNoExpert);
  step.router.emplace();
  step.router->layers.resize(step.shape.layers);
  pool.for_each_index(step.shape.layers, [&](std::size_t layer) {
    RoutedLayerCounts& counts = step.router->layers[layer];
    for (std::size_t b = 0; b < blocks; ++b) {
      const RoutedTokens& routed = results[b].layers[layer];
      const std::size_t count = std::min(each, tokens - b * each);
      counts.choices += routed.choices;
      counts.dropped += routed.dropped;
      counts.unserved_tokens += unserved(routed, count);
      ExpertIndex* out = step.choices.data() + (layer * tokens + b * each) * step.shape.k;
      for (std::size_t t = 0; t < count; ++t) {
        std::copy_n(routed.experts.begin() + static_cast<std::ptrdiff_t>(t * routed.slots), routed.slots,
                    out + t * step.shape.k);
      }
    }
  });
  if (router.buffer_rows(group, parts_.phase)) {
    CapacityLayout layout{group, {}};
    for (std::size_t b = 0; b < blocks; ++b) {
      const auto rows = router.buffer_rows(std::min(each, tokens - b * each), parts_.phase);
      layout.rows.push_back(static_cast<std::uint32_t>(rows.value_or(0)));
    }
    step.router->buffers = std::move(layout);
  }
  step.warnings = scored->warnings();
  return step;
}

std::string RouterSource::provenance() const {
  return fmt::format("routed by {}, {}{}", parts_.name, parts_.scores->provenance(), parts_.training);
}

}  // namespace moesim
