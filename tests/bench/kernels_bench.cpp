#include <benchmark/benchmark.h>

#include "models/kernels/fitted.hpp"
#include "sim/program/kernel_index.hpp"

namespace moesim {
namespace {

/// One prediction, nothing remembered from the one before.
/// Of DeepSeek-V3 on a rank that has `local` of them, 50 rows each.
Experts experts_of_v3(std::size_t local, std::optional<double> exponent = std::nullopt) {
  return {.rows = std::vector<std::int64_t>(local, 50),
          .tokens = 1600,
          .experts = 256,
          .experts_per_token = 8,
          .hidden = 7168,
          .intermediate = 2048,
          .exponent = exponent,
          .weight = DataType::kFp8Block};
}

void predict(benchmark::State& state, const Kernel& kernel) {
  const KernelProfile profile = load_kernel_profile(ProfileName{"h200-trtllm"}, {"bench", ""});
  const auto costs = make_cost_model(profile, find_accelerator("h200-sxm", {"bench", ""}));
  for (auto _ : state) {
    benchmark::DoNotOptimize(costs->cost(kernel));
  }
}

BENCHMARK_CAPTURE(predict, gemm, Gemm{.m = 100, .n = 4096, .k = 7168});
BENCHMARK_CAPTURE(predict, experts, experts_of_v3(32));
BENCHMARK_CAPTURE(predict, experts_of_one_rank, experts_of_v3(256, 0.0));
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

/// A prediction that a step has asked for before: KernelIndex finds the kernel among those of a step of 61 layers, and
/// its cost stands in a list.
void known(benchmark::State& state, const Kernel& kernel) {
  const KernelProfile profile = load_kernel_profile(ProfileName{"h200-trtllm"}, {"bench", ""});
  const auto costs = make_cost_model(profile, find_accelerator("h200-sxm", {"bench", ""}));
  std::vector<Kernel> kernels;
  KernelIndex index(kernels);
  for (std::int64_t layer = 1; layer <= 61; ++layer) {
    for (std::int64_t n = 256; n <= 8192; n *= 2) {
      index.place(Gemm{.m = layer, .n = n, .k = 7168});
    }
  }
  index.place(kernel);
  std::vector<KernelCost> cost;
  cost.reserve(kernels.size());
  for (const Kernel& one : kernels) {
    cost.push_back(costs->cost(one));
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(cost[index.place(kernel)].time);
  }
}
BENCHMARK_CAPTURE(known, gemm, Gemm{.m = 100, .n = 4096, .k = 7168});
BENCHMARK_CAPTURE(known, experts, experts_of_v3(32));
BENCHMARK_CAPTURE(known, experts_of_one_rank, experts_of_v3(256));

void load(benchmark::State& state) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(load_kernel_profile(ProfileName{"h200-trtllm"}, {"bench", ""}));
  }
}
BENCHMARK(load)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace moesim
