#include <algorithm>
#include <catch2/catch.hpp>

#include "models/kernels/kernel.hpp"
#include "sim/core/quantity.hpp"
#include "sim/core/random.hpp"

using namespace moesim;

TEST_CASE("A GEMM multiplies 2mnk and moves its three matrices once") {
  // 2·3·5·7·2 = 420; two times 3·7 + 7·5 + 3·5 = 71 elements of 2 B.
  const KernelDemand plain = demand_of(Gemm{.m = 3, .n = 5, .k = 7, .batch = 2});
  CHECK(plain.work.base() == 420.0);
  CHECK(plain.traffic.base() == 284.0);
  CHECK(plain.compute == DataType::kBf16);

  // fp8-block: A at 1 + 4/128 B (a float per 128), B at 1 B, C in bf16: 128·1.03125 + 128·2 + 2·2 with m = 1.
  const KernelDemand blocks = demand_of(Gemm{.m = 1, .n = 2, .k = 128, .weight = DataType::kFp8Block});
  CHECK(blocks.traffic.base() == 132.0 + 256.0 + 4.0);
  CHECK(blocks.compute == DataType::kFp8Block);
}

TEST_CASE("A grouped GEMM reads the weights of activated experts only") {
  // Rows 4 and 2 of four experts; n = 10, k = 8. Work 2·6·8·10 = 960. Bytes: inputs 6·8, outputs 6·10 and two
  // experts' 80 weights each, all of 2 B.
  const KernelDemand two = demand_of(GroupedGemm{.rows = {4, 0, 2, 0}, .n = 10, .k = 8});
  CHECK(two.work.base() == 960.0);
  CHECK(two.traffic.base() == 2.0 * (48.0 + 60.0 + 160.0));

  // The same rows on one more expert: one more expert's weights, nothing else.
  const KernelDemand three = demand_of(GroupedGemm{.rows = {3, 1, 2, 0}, .n = 10, .k = 8});
  CHECK(three.work == two.work);
  CHECK((three.traffic - two.traffic).base() == 160.0);
}

TEST_CASE("Attended pairs are those that a loop over queries counts", "[property]") {
  RandomStream random(7, "attended pairs");
  for (int trial = 0; trial < 500; ++trial) {
    const auto keys = static_cast<std::int64_t>(random.below(60)) + 1;
    const auto query = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(keys) + 1));
    const auto window = static_cast<std::int64_t>(random.below(70));
    double pairs = 0;
    for (std::int64_t i = 0; i < query; ++i) {
      const std::int64_t before = keys - query + i + 1;
      pairs += static_cast<double>(window > 0 ? std::min(before, window) : before);
    }
    CAPTURE(query, keys, window);
    CHECK(attended_pairs(query, keys, window) == pairs);
  }
}

TEST_CASE("Context attention counts causal pairs, shared KV heads and a cached prefix") {
  // 2 sequences, 3 new tokens after 1 cached one: pairs 2 + 3 + 4 = 9. 4 heads of width 8 on both sides.
  // Work 2·2·4·9·16; activations 3·4·16·2 B, cache 4 tokens·2 KV heads·16·2 B, per sequence.
  const ContextAttention attention{
      .sequences = 2, .query = 3, .keys = 4, .heads = 4, .kv_heads = 2, .qk_head_dim = 8, .v_head_dim = 8};
  const KernelDemand demand = demand_of(attention);
  CHECK(demand.work.base() == 2.0 * 2 * 4 * 9 * 16);
  CHECK(demand.traffic.base() == 2.0 * (3 * 4 * 16 * 2 + 4 * 2 * 16 * 2));

  // A window of 2: pairs 2 + 2 + 2; all four keys are still seen, by the first query the first.
  ContextAttention windowed = attention;
  windowed.window = 2;
  CHECK(demand_of(windowed).work.base() == 2.0 * 2 * 4 * 6 * 16);
  CHECK(demand_of(windowed).traffic == demand.traffic);
  // A window of 1: each query sees itself, and the cached key is not read.
  windowed.window = 1;
  CHECK(demand_of(windowed).work.base() == 2.0 * 2 * 4 * 3 * 16);
  CHECK(demand_of(windowed).traffic.base() == 2.0 * (3 * 4 * 16 * 2 + 3 * 2 * 16 * 2));
}

TEST_CASE("Without a window, pairs agree with (full² − prefix²)/2 up to the diagonal") {
  // Σ_{i=1..q} (p + i) = q·p + q(q+1)/2 = ((p+q)² − p²)/2 + q/2.
  CHECK(attended_pairs(4096, 8192, 0) == (8192.0 * 8192 - 4096.0 * 4096) / 2 + 4096.0 / 2);
}

TEST_CASE("Chunked attention: every query sees what came since the last multiple of the chunk") {
  RandomStream random(7, "chunks");
  for (int i = 0; i < 200; ++i) {
    const auto chunk = static_cast<std::int64_t>(1 + random.below(9));
    const auto query = static_cast<std::int64_t>(random.below(40));
    const auto keys = query + static_cast<std::int64_t>(random.below(40));
    double pairs = 0.0;
    for (std::int64_t position = keys - query; position < keys; ++position) {
      pairs += static_cast<double>(position % chunk + 1);
    }
    CAPTURE(query, keys, chunk);
    CHECK(chunked_pairs(query, keys, chunk) == pairs);
  }
  // Llama 4, a prompt of 32768: 4·8192·8193/2, where a sliding window would let 1.75 times as many through.
  CHECK(chunked_pairs(32768, 32768, 8192) == 4.0 * 8192 * 8193 / 2);
  CHECK(attended_pairs(32768, 32768, 8192) / chunked_pairs(32768, 32768, 8192) == Approx(1.75).epsilon(1e-3));
}

TEST_CASE("4-bit weights are multiplied at the rate of the wider operand") {
  const Accelerator b200 = find_accelerator("b200-sxm", {});
  const Accelerator h200 = find_accelerator("h200-sxm", {});
  CHECK(multiplied_as(DataType::kMxFp4, b200) == DataType::kFp8);    // with mxfp8 activations
  CHECK(multiplied_as(DataType::kNvFp4, b200) == DataType::kNvFp4);  // activations are quantised alike
  CHECK(multiplied_as(DataType::kMxFp4, h200) == DataType::kMxFp4);  // expanded: the profile says to what
  CHECK(multiplied_as(DataType::kFp8Block, h200) == DataType::kFp8);
  CHECK(multiplied_as(DataType::kBf16, b200) == DataType::kBf16);
  // 2·3·4 elements, inputs of 4.5 bits as the weights, outputs of 16.
  const Gemm gemm{.m = 2, .n = 3, .k = 4, .weight = DataType::kNvFp4};
  CHECK(demand_of(gemm).traffic.base() == Approx((2 * 4 + 4 * 3) * 4.5 / 8 + 2 * 3 * 2));
}

TEST_CASE("Generation attention reads each KV head once for its whole group") {
  // 3 sequences, 100 keys, 8 heads on 2 KV heads of width 16, cache in fp8: 4·3·8·100·16 FLOP;
  // per sequence 2·8·16·2 B of query and output and 2·2·100·16·1 B of cache.
  const GenerationAttention attention{
      .sequences = 3, .keys = 100, .heads = 8, .kv_heads = 2, .head_dim = 16, .kv = DataType::kFp8};
  CHECK(demand_of(attention).work.base() == 4.0 * 3 * 8 * 100 * 16);
  CHECK(demand_of(attention).traffic.base() == 3.0 * (2 * 8 * 16 * 2 + 2 * 2 * 100 * 16));
  CHECK(demand_of(attention).compute == DataType::kFp8);

  GenerationAttention windowed = attention;
  windowed.window = 40;
  CHECK(demand_of(windowed).work.base() == 4.0 * 3 * 8 * 40 * 16);
  windowed.window = 400;
  CHECK(demand_of(windowed).traffic == demand_of(attention).traffic);
}

TEST_CASE("Absorbed latent attention reads 576 elements a token and multiplies 1088 per head") {
  // DeepSeek-V3: kv_rank 512, rope 64: scores over 576, outputs over 512. 2 sequences, 128 heads, 1000 keys, bf16.
  const LatentGenerationAttention attention{.sequences = 2, .keys = 1000, .heads = 128, .kv_rank = 512, .rope_dim = 64};
  CHECK(demand_of(attention).work.base() == 2.0 * 2 * 128 * 1000 * 1088);
  CHECK(demand_of(attention).traffic.base() == 2.0 * (1000 * 576 * 2 + 128 * 1088 * 2));

  // The latent is shared: half the heads, the same cache.
  LatentGenerationAttention half = attention;
  half.heads = 64;
  CHECK((demand_of(attention).traffic - demand_of(half).traffic).base() == 2.0 * 64 * 1088 * 2);
}

TEST_CASE("A cache that tensor cores do not take is computed with in bf16") {
  CHECK(demand_of(GenerationAttention{.sequences = 1, .keys = 1, .kv = DataType::kInt8}).compute == DataType::kBf16);
  CHECK(demand_of(GenerationAttention{.sequences = 1, .keys = 1, .kv = DataType::kFp16}).compute == DataType::kFp16);
}

TEST_CASE("Empty shapes need nothing") {
  const std::vector<Kernel> empty = {Gemm{.m = 0, .n = 8, .k = 8},
                                     GroupedGemm{.rows = {0, 0}, .n = 8, .k = 8},
                                     ContextAttention{.sequences = 4, .query = 0, .keys = 9, .heads = 1, .kv_heads = 1},
                                     GenerationAttention{.sequences = 0, .keys = 9, .heads = 1, .kv_heads = 1},
                                     LatentGenerationAttention{.sequences = 0, .keys = 9, .heads = 1},
                                     Streaming{}};
  for (const Kernel& kernel : empty) {
    CAPTURE(kernel.index());
    CHECK(demand_of(kernel).work == Flops{});
    CHECK(demand_of(kernel).traffic == Bytes{});
  }
}

// An encoder's queries see all keys: 3 · 5 pairs instead of the 3 + 4 + 5 of the last three of five under a causal
// mask.
TEST_CASE("a full mask lets every pair through") {
  ContextAttention attention{
      .sequences = 1, .query = 3, .keys = 5, .heads = 1, .kv_heads = 1, .qk_head_dim = 2, .v_head_dim = 2, .window = 0};
  CHECK(demand_of(attention).work.base() == 2.0 * 12 * 4);
  attention.mask = Mask::kFull;
  CHECK(demand_of(attention).work.base() == 2.0 * 15 * 4);
}

// 3 queries over the last of 10 keys see 8, 9 and 10 of them, or with a window of 4 four each, out of six in all. 2
// sequences of 6 heads on 2 of width 5: 4·2·6·5 FLOP a pair; queries and outputs 2·3·6·5 of 2 B, keys and values 2·2·5
// of 2 B each, once.
TEST_CASE("Several queries of a sequence share one read of its keys") {
  GenerationAttention attention{.sequences = 2, .query = 3, .keys = 10, .heads = 6, .kv_heads = 2, .head_dim = 5};
  CHECK(demand_of(attention).work.base() == 240.0 * 27);
  CHECK(demand_of(attention).traffic.base() == 2.0 * (180 * 2 + 20 * 10 * 2));
  attention.window = 4;
  CHECK(demand_of(attention).work.base() == 240.0 * 12);
  CHECK(demand_of(attention).traffic.base() == 2.0 * (180 * 2 + 20 * 6 * 2));
  // Latents of 8 + 4: 2·2·6·(12 + 8) FLOP a pair; 3·6·(12 + 8) of queries and outputs, 12·10 of the cache.
  const LatentGenerationAttention latent{
      .sequences = 2, .query = 3, .keys = 10, .heads = 6, .kv_rank = 8, .rope_dim = 4};
  CHECK(demand_of(latent).work.base() == 480.0 * 27);
  CHECK(demand_of(latent).traffic.base() == 2.0 * (360 * 2 + 120 * 2));
}
