// The one pass that checks and counts every id of a recording, against what the memory gives: read_memory sums the same
// bytes eight at a time on one core. bytes_per_second of the two is to be compared. vLLM and SGLang record int32. What
// bounds the pass for narrower ids is not memory but work an id: a counter each needs a store each, of which a core
// does one a cycle; sets of 256 bits (set_counter) need two loads, of which it does three, beside three other
// operations, and are at 0.9 of a cycle an id on Zen 3 with all data in the cache. At that, one-byte ids cannot pass
// about 3 GB/s at 2.6 GHz, two-byte ids 6, four-byte ids 11.
#include <benchmark/benchmark.h>

#include <cmath>
#include <numeric>
#include <string>

#include "sim/core/random.hpp"
#include "workloads/routing/drawn_source.hpp"
#include "workloads/routing/id_scan.hpp"
#include "workloads/routing/statistics.hpp"

using namespace moesim;

namespace {

constexpr std::size_t kBytes = std::size_t{1} << 27;  // far more than any cache

/// Ids of top-8 of 256 experts in 58 layers with log-normal loads, as T [tokens, 58, 8].
template <class T>
std::vector<T> ids() {
  constexpr std::size_t kExperts = 256;
  constexpr std::size_t kLayers = 58;
  constexpr std::size_t kK = 8;
  constexpr std::size_t kRows = 4096;
  RandomStream random(1, "bench.trace");
  std::vector<double> loads(kExperts);
  for (double& load : loads) {
    load = std::exp(random.normal());
  }
  const ExpertSampler sampler(inclusion_from_loads(loads, kK), kK, {});
  std::vector<ExpertIndex> rows(kRows * kK);
  HalfWords words(random);
  for (std::size_t row = 0; row < kRows; ++row) {
    sampler.draw(words, std::span(rows).subspan(row * kK, kK));
  }
  const std::size_t tokens = kBytes / sizeof(T) / (kLayers * kK);
  std::vector<T> values(tokens * kLayers * kK);
  for (std::size_t i = 0; i < values.size(); i += kK) {
    const std::size_t row = random.below(kRows);
    std::copy_n(rows.begin() + static_cast<std::ptrdiff_t>(row * kK), kK,
                values.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return values;
}

template <class T>
void scan(benchmark::State& state, NpyType type) {
  const std::vector<T> values = ids<T>();
  std::vector<std::size_t> layers(58);
  std::iota(layers.begin(), layers.end(), std::size_t{0});
  const IdArray array{std::as_bytes(std::span(values)), type, values.size() / (58 * 8), 58, 8};
  const TaskPool pool(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    benchmark::DoNotOptimize(scan_ids(array, layers, std::nullopt, Fillers::kEmptyLayers, "bench", pool));
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(values.size() * sizeof(T)));
  state.counters["ids_per_second"] = benchmark::Counter(
      static_cast<double>(state.iterations()) * static_cast<double>(values.size()), benchmark::Counter::kIsRate);
}

void read_memory(benchmark::State& state) {
  const std::vector<std::uint64_t> words(kBytes / sizeof(std::uint64_t), 1);
  for (auto _ : state) {
    benchmark::DoNotOptimize(std::accumulate(words.begin(), words.end(), std::uint64_t{0}));
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kBytes));
}

void scan_uint8(benchmark::State& state) { scan<std::uint8_t>(state, NpyType::kUint8); }
void scan_uint16(benchmark::State& state) { scan<std::uint16_t>(state, NpyType::kUint16); }
void scan_int32(benchmark::State& state) { scan<std::int32_t>(state, NpyType::kInt32); }

}  // namespace

BENCHMARK(read_memory)->Unit(benchmark::kMillisecond);
BENCHMARK(scan_uint8)->Arg(1)->Arg(2)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(scan_uint16)->Arg(1)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(scan_int32)->Arg(1)->Arg(2)->Unit(benchmark::kMillisecond)->UseRealTime();
