#include <algorithm>
#include <catch2/catch.hpp>
#include <variant>
#include <vector>

#include "models/kernels/kernel.hpp"
#include "sim/core/quantity.hpp"
#include "sim/program/operators.hpp"

using namespace moesim;

namespace {

/// Latents of 8 + 4 (rotary), 6 heads; an indexer of 2 heads of 16 that picks 100 keys.
constexpr LatentAttention kSparse{.heads = 6,
                                  .q_lora_rank = 12,
                                  .kv_lora_rank = 8,
                                  .qk_nope_head_dim = 10,
                                  .qk_rope_head_dim = 4,
                                  .v_head_dim = 9,
                                  .indexer = SparseIndexer{.heads = 2, .head_dim = 16, .selected = 100}};

OperatorContext context(int tensor_parallel = 1) { return {32, tensor_parallel, Precision{}}; }

template <class K>
std::vector<K> all_of(const KernelList& kernels) {
  std::vector<K> found;
  for (const OperatorKernel& kernel : kernels) {
    if (const auto* k = std::get_if<K>(&kernel.kernel)) {
      found.push_back(*k);
    }
  }
  return found;
}

std::size_t count(const KernelList& kernels, StepOperator op) {
  return static_cast<std::size_t>(
      std::count_if(kernels.begin(), kernels.end(), [&](const OperatorKernel& kernel) { return kernel.op == op; }));
}

}  // namespace

TEST_CASE("Sparse attention scores all keys on every rank, and reads the selected ones") {
  const BatchShape decode{.sequences = 5, .query = 1, .keys = 300};
  const KernelList alone = mixer_kernels(context(), kSparse, decode);
  const auto scores = all_of<IndexScores>(alone);
  REQUIRE(scores.size() == 1);
  CHECK(scores[0] == IndexScores{.sequences = 5, .query = 1, .keys = 300, .heads = 2, .width = 16});
  REQUIRE(all_of<LatentGenerationAttention>(alone).size() == 1);
  CHECK(all_of<LatentGenerationAttention>(alone)[0].keys == 100);
  // Over three ranks heads are split, the indexer is not.
  const KernelList split = mixer_kernels(context(3), kSparse, decode);
  CHECK(all_of<IndexScores>(split) == scores);
  CHECK(all_of<LatentGenerationAttention>(split)[0].heads == 2);
  CHECK(count(split, StepOperator::kIndexer) == count(alone, StepOperator::kIndexer));
  // Queries of 2·16 from 12, a key of 16 and 2 weights from 32.
  const auto gemms = all_of<Gemm>(split);
  CHECK(std::find(gemms.begin(), gemms.end(), Gemm{.m = 5, .n = 32, .k = 12}) != gemms.end());
  CHECK(std::find(gemms.begin(), gemms.end(), Gemm{.m = 5, .n = 18, .k = 32}) != gemms.end());
  // Fewer keys than it may pick: all of them, scored all the same.
  const KernelList few = mixer_kernels(context(), kSparse, {.sequences = 5, .query = 1, .keys = 60});
  CHECK(all_of<LatentGenerationAttention>(few)[0].keys == 60);
  CHECK(all_of<IndexScores>(few).size() == 1);
}

TEST_CASE("Prompts are read sparsely from where they are longer than what is selected") {
  const BatchShape longer{.sequences = 2, .query = 250, .keys = 250, .phase = StepPhase::kPrefill};
  const KernelList sparse = mixer_kernels(context(), kSparse, longer);
  REQUIRE(all_of<ContextAttention>(sparse).size() == 1);
  const ContextAttention attention = all_of<ContextAttention>(sparse)[0];
  // Absorbed: every head reads the latent itself; 100 positions see all before them, 150 see 100 keys each.
  CHECK(attention.kv_heads == 1);
  CHECK(attention.qk_head_dim == 12);
  CHECK(attention.v_head_dim == 8);
  CHECK(demand_of(attention).work.base() == 2.0 * 2 * 6 * (100.0 * 101 / 2 + 150.0 * 100) * (12 + 8));
  CHECK(all_of<IndexScores>(sparse).size() == 1);

  const BatchShape shorter{.sequences = 2, .query = 100, .keys = 100, .phase = StepPhase::kPrefill};
  const KernelList dense = mixer_kernels(context(), kSparse, shorter);
  LatentAttention plain = kSparse;
  plain.indexer.reset();
  CHECK(all_of<ContextAttention>(dense) == all_of<ContextAttention>(mixer_kernels(context(), plain, shorter)));
  CHECK(all_of<IndexScores>(dense).empty());
  // Keys for what comes later, and nothing of queries: a product, three kernels of 16 a token, and their cache.
  CHECK(count(dense, StepOperator::kIndexer) == 5);
  const auto gemms = all_of<Gemm>(dense);
  CHECK(std::find(gemms.begin(), gemms.end(), Gemm{.m = 200, .n = 16, .k = 32}) != gemms.end());
  CHECK(std::none_of(gemms.begin(), gemms.end(), [](const Gemm& gemm) { return gemm.k == 12 && gemm.n == 2 * 16; }));
}

TEST_CASE("Prompts read sparsely: heads by 64 on Hopper; short ones too where whole heads are too wide on Blackwell") {
  const BatchShape longer{.sequences = 2, .query = 250, .keys = 250, .phase = StepPhase::kPrefill};
  const BatchShape shorter{.sequences = 2, .query = 100, .keys = 100, .phase = StepPhase::kPrefill};
  OperatorContext hopper = context();
  hopper.compute_capability = 90;
  OperatorContext blackwell = context();
  blackwell.compute_capability = 100;
  CHECK(all_of<ContextAttention>(mixer_kernels(hopper, kSparse, longer))[0].heads == 64);
  CHECK(all_of<ContextAttention>(mixer_kernels(blackwell, kSparse, longer))[0].heads == 6);
  CHECK(all_of<IndexScores>(mixer_kernels(blackwell, kSparse, shorter)).empty());
  LatentAttention wide = kSparse;
  wide.v_head_dim = 256;
  CHECK(all_of<IndexScores>(mixer_kernels(hopper, wide, shorter)).empty());
  const KernelList sparse = mixer_kernels(blackwell, wide, shorter);
  CHECK(all_of<IndexScores>(sparse).size() == 1);
  CHECK(all_of<ContextAttention>(sparse)[0].kv_heads == 1);
}

TEST_CASE("Selected keys lie anywhere: a few queries after many keys read more of them than a window would") {
  ContextAttention attention{.sequences = 1, .query = 3, .keys = 1000, .heads = 2, .kv_heads = 1};
  attention.qk_head_dim = attention.v_head_dim = 4;
  attention.window = 100;
  const double queries = 3 * 2 * 8 * 2.0;
  CHECK(demand_of(attention).traffic.base() == queries + 102 * 8 * 2);
  attention.scattered = true;
  CHECK(demand_of(attention).traffic.base() == queries + 300 * 8 * 2);
}

TEST_CASE("Scores of an indexer: a product per head and pair, a number per pair") {
  // One query over 7 keys, 2 heads of width 16: 2·2·7·16 FLOP; (7 keys + 2 queries)·(16 + 4) B and 7 scores of 4 B.
  const KernelDemand one = demand_of(IndexScores{.sequences = 3, .query = 1, .keys = 7, .heads = 2, .width = 16});
  CHECK(one.work.base() == 3.0 * 2 * 2 * 7 * 16);
  CHECK(one.traffic.base() == 3.0 * (9 * 20 + 7 * 4));
  // Three queries see 5, 6 and 7 keys.
  const KernelDemand three = demand_of(IndexScores{.sequences = 1, .query = 3, .keys = 7, .heads = 2, .width = 16});
  CHECK(three.work.base() == 2.0 * 2 * (5 + 6 + 7) * 16);
}

TEST_CASE("Decay gates are a product of their own, in the type that checkpoints leave alone") {
  OperatorContext narrow = context(2);
  narrow.weights = DataType::kFp8Block;
  const LinearAttention delta{
      .key_heads = 2, .value_heads = 4, .key_head_dim = 8, .value_head_dim = 16, .convolution = 4, .decay_gates = true};
  const BatchShape decode{.sequences = 5, .query = 1, .keys = 300};
  const KernelList kernels = mixer_kernels(narrow, delta, decode);
  // Of two ranks each: q, k 2·8, v 2·16 and gate 2·16; decay and strength of two heads; out.
  const auto gemms = all_of<Gemm>(kernels);
  REQUIRE(gemms.size() == 3);
  CHECK(gemms[0] == Gemm{.m = 5, .n = 16 + 32 + 32, .k = 32, .weight = DataType::kFp8Block});
  CHECK(gemms[1] == Gemm{.m = 5, .n = 4, .k = 32, .weight = DataType::kBf16});
  CHECK(gemms[2] == Gemm{.m = 5, .n = 32, .k = 32, .weight = DataType::kFp8Block});
  // Bringing q, k, v, gates into place, convolution, recurrence, gated norm.
  const auto streams = all_of<Streaming>(kernels);
  REQUIRE(streams.size() == 4);
  CHECK(streams[0].read.base() == 5.0 * (80 + 4) * 2);
  // The state, 2 heads of 8·16 in fp32, is read and written.
  CHECK(streams[2].read.base() == 5.0 * (2 * 8 * 16 * 4 + 48 * 2));
  CHECK(streams[2].written.base() == 5.0 * (2 * 8 * 16 * 4 + 32 * 2));
  CHECK(streams[3].read.base() == 5.0 * (32 + 32) * 2);

  // The convolution's last three inputs of each sequence, too.
  CHECK(streams[1].read.base() == 5.0 * (1 + 3) * 48 * 2);

  narrow.precision.state = DataType::kBf16;
  CHECK(all_of<Streaming>(mixer_kernels(narrow, delta, decode))[2].read.base() == 5.0 * (2 * 8 * 16 * 2 + 48 * 2));

  LinearAttention lightning = delta;
  lightning.decay_gates = false;
  CHECK(all_of<Gemm>(mixer_kernels(narrow, lightning, decode)).size() == 2);
}

TEST_CASE("A gate on attention's output or on shared experts is a kernel more") {
  GroupedQueryAttention attention{.heads = 4, .kv_heads = 2, .head_dim = 8};
  const BatchShape decode{.sequences = 5, .query = 1, .keys = 300};
  const std::size_t plain = mixer_kernels(context(), attention, decode).size();
  attention.output_gate = true;
  const KernelList gated = mixer_kernels(context(), attention, decode);
  REQUIRE(gated.size() == plain + 1);
  CHECK(std::get<Streaming>(gated[plain - 1].kernel).read.base() == 5.0 * 2 * 32 * 2);

  MixtureOfExperts moe{.experts = 4, .experts_per_token = 1, .intermediate = 16, .shared_intermediate = 16};
  const std::size_t without = shared_expert_kernels(context(), moe, 5).size();
  moe.shared_gate = true;
  const KernelList shared = shared_expert_kernels(context(), moe, 5);
  REQUIRE(shared.size() == without + 2);
  CHECK(std::get<Gemm>(shared[without].kernel) == Gemm{.m = 5, .n = 1, .k = 32});
}

// Sparse kernels take each token by itself, as each selects keys of its own; the indexer scores a sequence's together.
TEST_CASE("What an indexer selects is each draft's own") {
  const KernelList kernels = mixer_kernels(context(), kSparse, {.sequences = 5, .query = 3, .keys = 300});
  const auto attention = all_of<LatentGenerationAttention>(kernels);
  REQUIRE(attention.size() == 1);
  CHECK(attention[0].sequences == 15);
  CHECK(attention[0].query == 1);
  CHECK(attention[0].keys == 100);
  CHECK(all_of<IndexScores>(kernels)[0] ==
        IndexScores{.sequences = 5, .query = 3, .keys = 300, .heads = 2, .width = 16});
}

// Two value heads of 4 × 4 in fp32: 128 B a state. One token: the state of each of 5 sequences is read and written.
// Three: read once, written after each, and the accepted one copied.
TEST_CASE("Linear attention keeps the state after each draft") {
  const LinearAttention linear{.key_heads = 1, .value_heads = 2, .key_head_dim = 4, .value_head_dim = 4};
  const auto states = [&](std::int64_t query) {
    double bytes = 0.0;
    for (const OperatorKernel& kernel :
         mixer_kernels(context(), linear, {.sequences = 5, .query = query, .keys = 99})) {
      if (const auto* stream = std::get_if<Streaming>(&kernel.kernel);
          stream != nullptr && kernel.op == StepOperator::kRecurrence) {
        bytes += (stream->read + stream->written).base();
      }
    }
    return bytes;
  };
  // Beside states every token's 2·4 + 8 mixed are read and 8 written, then 2·8 read and 8 written, of 2 B.
  const double token = 2.0 * (16 + 8 + 16 + 8);
  CHECK(states(1) == 5 * (2 * 128.0 + token));
  CHECK(states(3) == 5 * ((1 + 3) * 128.0 + 2 * 128.0 + 3 * token));
}
