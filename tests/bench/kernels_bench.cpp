#include <benchmark/benchmark.h>

#include "models/kernels/fitted.hpp"

namespace moesim {
namespace {

/// One prediction, nothing remembered from the one before.
void predict(benchmark::State& state, const Kernel& kernel) {
  const KernelProfile profile = load_kernel_profile(ProfileName{"h200-trtllm"}, {"bench", ""});
  const auto costs = make_cost_model(profile, find_accelerator("h200-sxm", {"bench", ""}));
  for (auto _ : state) {
    benchmark::DoNotOptimize(costs->cost(kernel));
  }
}

BENCHMARK_CAPTURE(predict, gemm, Gemm{.m = 100, .n = 4096, .k = 7168});
BENCHMARK_CAPTURE(predict, experts,
                  Experts{.rows = std::vector<std::int64_t>(32, 50),
                          .tokens = 1600,
                          .experts = 256,
                          .experts_per_token = 8,
                          .hidden = 7168,
                          .intermediate = 2048,
                          .weight = DataType::kFp8Block});
BENCHMARK_CAPTURE(predict, experts_of_one_rank,
                  Experts{.rows = std::vector<std::int64_t>(256, 50),
                          .tokens = 1600,
                          .experts = 256,
                          .experts_per_token = 8,
                          .hidden = 7168,
                          .intermediate = 2048,
                          .exponent = 0.0,
                          .weight = DataType::kFp8Block});
BENCHMARK_CAPTURE(predict, context_attention,
                  ContextAttention{.sequences = 4,
                                   .query = 2048,
                                   .keys = 2048,
                                   .heads = 32,
                                   .kv_heads = 8,
                                   .qk_head_dim = 128,
                                   .v_head_dim = 128});
BENCHMARK_CAPTURE(predict, generation_attention,
                  GenerationAttention{.sequences = 64, .keys = 5000, .heads = 64, .kv_heads = 8, .head_dim = 128});
BENCHMARK_CAPTURE(predict, latent_generation_attention,
                  LatentGenerationAttention{
                      .sequences = 64, .keys = 5000, .heads = 128, .kv_rank = 512, .rope_dim = 64});

void load(benchmark::State& state) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(load_kernel_profile(ProfileName{"h200-trtllm"}, {"bench", ""}));
  }
}
BENCHMARK(load)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace moesim
