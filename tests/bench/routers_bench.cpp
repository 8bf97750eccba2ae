#include <benchmark/benchmark.h>

#include <cstring>
#include <string>
#include <vector>

#include "sim/core/random.hpp"
#include "workloads/routing/routers/registry.hpp"
#include "workloads/routing/routers/router_routing.hpp"
#include "workloads/routing/routers/select.hpp"

// How fast routers route. Items are tokens·layers. Scores are larger than the caches, as those of a step are, so that
// the memory's rate is the roofline: the same scores, copied, and read alone.

using namespace moesim;

namespace {

constexpr std::size_t kTokens = std::size_t{1} << 20;
constexpr std::size_t kBlock = 16384;  // tokens whose scores are held at once: 16 MiB of 256 experts
constexpr std::size_t kExperts = 256;

std::vector<float> scores_of(std::size_t experts) {
  RandomStream random(1, "bench.scores");
  std::vector<float> scores(kBlock * experts);
  for (float& score : scores) {
    score = static_cast<float>(random.normal());
  }
  return scores;
}

/// One layer of 2^20 tokens, in blocks.
void routes(benchmark::State& state, const char* name) {
  const std::vector<float> scores = scores_of(kExperts);
  RouterContext context{.experts = kExperts, .k = 8};
  const auto router = router_by_name(name, {}).make(context);
  RandomStream random(1, "bench.route");
  RouterInput input{.tokens = kBlock, .experts = kExperts, .scores = scores};
  input.weights = GateWeights::kNotWanted;
  RoutedTokens out;
  for (auto _ : state) {
    for (std::size_t done = 0; done < kTokens; done += kBlock) {
      router->route(input, random, out);
      benchmark::DoNotOptimize(out.experts.data());
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kTokens));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kTokens * kExperts * sizeof(float)));
}

/// The selection without vector instructions beyond what every machine has.
void selects_portably(benchmark::State& state) {
  const std::vector<float> scores = scores_of(kExperts);
  const SelectRule rule{.experts = kExperts, .k = 8, .groups = 8, .groups_per_token = 4};
  std::vector<ExpertIndex> out(kBlock * 8);
  for (auto _ : state) {
    select_experts_portable(rule, scores.data(), kBlock, out.data());
    benchmark::DoNotOptimize(out.data());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kBlock));
}

void copies_scores(benchmark::State& state) {
  const std::vector<float> scores = scores_of(kExperts);
  std::vector<float> copy(scores.size());
  for (auto _ : state) {
    for (std::size_t done = 0; done < kTokens; done += kBlock) {
      std::memcpy(copy.data(), scores.data(), scores.size() * sizeof(float));
      benchmark::DoNotOptimize(copy.data());
      benchmark::ClobberMemory();
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kTokens));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kTokens * kExperts * sizeof(float)));
}

/// All of it, from text to choices: 16,384 tokens in 58 layers on one thread.
void whole_step(benchmark::State& state) {
  const TaskPool pool(1);
  RouterRouting config;
  config.gate = router_by_name("deepseek-v3", {});
  const RoutingNeeds needs{.moe_layers = 58, .all_layers = 61, .k = 8, .experts = kExperts};
  const MadeRouter made = make_router(config, needs, {}, pool);
  TokenBatch batch;
  for (std::uint32_t t = 0; t < kBlock; ++t) {
    batch.tokens.push_back({t / 1024, t % 1024});
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(made.source->draw(batch, 1, pool).choices.data());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kBlock * needs.moe_layers));
}

}  // namespace

BENCHMARK(copies_scores)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(routes, deepseek_v2_top8_of_256_in_3_of_8, "deepseek-v2")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(routes, deepseek_v3_top8_of_256_in_4_of_8, "deepseek-v3")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(routes, qwen3_top8_of_256, "qwen3-moe")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(routes, switch_top1_of_256, "switch")->Unit(benchmark::kMillisecond);
BENCHMARK(selects_portably)->Unit(benchmark::kMillisecond);
BENCHMARK(whole_step)->Unit(benchmark::kMillisecond);
