#include "models/memory/training.hpp"

#include <catch2/catch.hpp>

#include "sim/core/quantity.hpp"

using namespace moesim;

namespace {

/// One layer of multi-head attention (8 heads of 16) and an ungated block of 4·128, hidden 128; vocabulary 1000.
Model plain_layers(int layers) {
  Architecture architecture;
  architecture.name = "plain";
  architecture.hidden = 128;
  architecture.vocabulary = 1000;
  GroupedQueryAttention attention;
  attention.heads = 8;
  attention.kv_heads = 8;
  attention.head_dim = 16;
  architecture.blocks["only"] = {attention, std::nullopt, DenseFeedForward{.intermediate = 512, .gated = false}};
  architecture.layers = {{.pattern = {"only"}, .repeat = layers}};
  return Model(std::move(architecture), {"plain.json", ""});
}

Model trained_model(const char* name) { return load_model(ModelName{name}, {"test", ""}); }

}  // namespace

TEST_CASE("parameters of all ranks' chunks are the model's", "[training]") {
  for (const char* name : {"deepseek-v3", "qwen3-30b-a3b", "gpt-oss-120b", "mixtral-8x7b"}) {
    const Model model = trained_model(name);
    const std::size_t layers = model.layers().size();
    TrainingMemoryRequest request{.model = model};
    request.expert_parallel = model.moe()->experts;
    double sum = 0.0;
    for (std::size_t l = 0; l < layers; ++l) {
      const RankParameters count = rank_parameters(request, {l, l + 1, l == 0, l + 1 == layers, 0});
      sum += count.dense + count.experts * static_cast<double>(request.expert_parallel);
    }
    INFO(name);
    CHECK(sum == Approx(total_parameters(model).total() - total_parameters(model).extra).epsilon(1e-12));
  }
}

// 2 (bf16) + 4 (fp32 gradients) + 12 (fp32 master weights and two moments) bytes a parameter; with a distributed
// optimizer 6 + 12/DP (Megatron-LM's guide). One layer: 4·128·128 + 2·128·512 + 2·128; embedding and head 2·1000·128,
// last norm 128.
TEST_CASE("a parameter takes 18 bytes, with a distributed optimizer 6 + 12 / DP", "[training]") {
  const Model model = plain_layers(1);
  TrainingMemoryRequest request{.model = model};
  request.data_parallel = 8;
  request.chunks = {{0, 1, true, true, 0}};
  const double parameters = 4 * 128 * 128 + 2 * 128 * 512 + 2 * 128 + 2 * 1000 * 128 + 128;
  const auto states = [&] {
    const TrainingFootprint held = training_footprint(request);
    return (held.weights + held.expert_weights + held.gradients + held.optimizer).base();
  };
  request.sharding = OptimizerSharding::kReplicated;
  CHECK(states() == Approx(18.0 * parameters));
  request.sharding = OptimizerSharding::kDistributed;
  CHECK(states() == Approx((6.0 + 12.0 / 8) * parameters));
  request.types.first_moment = request.types.second_moment = DataType::kBf16;  // DeepSeek-V3
  CHECK(states() == Approx((6.0 + 8.0 / 8) * parameters));
}

TEST_CASE("states of experts are shared by the ranks that have the same experts", "[training]") {
  const Model model = trained_model("qwen3-30b-a3b");
  TrainingMemoryRequest request{.model = model};
  request.expert_parallel = 8;
  request.data_parallel = 16;
  request.expert_data_parallel = 2;
  request.chunks = {{0, 48, false, false, 0}};
  const RankParameters count = rank_parameters(request, request.chunks.front());
  CHECK(count.experts == 48.0 * 16 * 3 * 2048 * 768);
  CHECK(training_footprint(request).optimizer.base() == Approx(12.0 * (count.dense / 16 + count.experts / 2)));
}

// s·b·h·(16 + 4·ffn/h) + 4·n·s·b (Korthikanti's 34 of ffn = 4·h without two masks of dropout, with FlashAttention's
// log-sum-exp in place of scores), divided by TP; without norms' outputs (4·h) and the activation function's (2·ffn);
// a layer's input alone, 2·h.
TEST_CASE("activations kept for a layer are those of the closed form", "[training]") {
  const Model model = plain_layers(3);
  TrainingMemoryRequest request{.model = model};
  request.tokens = 1000;
  const ChunkInFlight chunk{0, 3, true, false, 0};
  const double all = 16 * 128 + 4 * 512 + 4 * 8;
  const double selective = all - 4 * 128 - 2 * 512;
  CHECK(kept_bytes(request, chunk).base() == 3 * 1000 * all);
  request.tensor_parallel = 4;
  CHECK(kept_bytes(request, chunk).base() == 3 * 1000 * all / 4);
  request.kept = KeptActivations::kSelective;
  CHECK(kept_bytes(request, chunk).base() == 3 * 1000 * selective / 4);
  request.kept = KeptActivations::kLayerInputs;
  CHECK(kept_bytes(request, chunk).base() == 3 * 1000 * 2 * 128 / 4.0);
}

// A token: norms 2·2·2048 in bf16 and 2·2048 operands in fp8; q, k, v (32 + 2·4)·128·2, before their norms 36·128·2,
// output 32·128·(2 + 1), 32·4; eight rows of 2048 operands, 2·768·2 inputs and 768 outputs of SwiGLU; 8·128 of the
// router.
TEST_CASE("activations of an fp8 MoE layer", "[training]") {
  const Model model = trained_model("qwen3-30b-a3b");
  TrainingMemoryRequest request{.model = model, .precision = {.weights = DataType::kFp8}};
  request.tokens = 1;
  const double attention = 40 * 128 * 2 + 36 * 128 * 2 + 32 * 128 * 3 + 32 * 4;
  const double experts = 8 * (2048 + 2 * 768 * 2 + 768) + 8 * 128;
  CHECK(kept_bytes(request, {5, 6, false, false, 0}).base() == 2 * 2048 * 3 + attention + experts);
  request.kept_type = DataType::kFp8;
  const double narrow = 40 * 128 * 2 + 36 * 128 * 2 + 32 * 128 + 32 * 4;
  CHECK(kept_bytes(request, {5, 6, false, false, 0}).base() ==
        2 * 2048 * 3 + narrow + 8 * (2048 + 2 * 768 + 768) + 8 * 128);
}

// Products in fp8 need a cast for each direction beside bf16 parameters, one more than fp8 parameters themselves.
TEST_CASE("weights and their casts", "[training]") {
  const Model model = plain_layers(1);
  TrainingMemoryRequest request{.model = model};
  request.chunks = {{0, 1, false, false, 0}};
  const double parameters = 4 * 128 * 128 + 2 * 128 * 512 + 2 * 128;
  CHECK(training_footprint(request).weights.base() == 2 * parameters);
  request.precision.weights = DataType::kFp8;
  CHECK(training_footprint(request).weights.base() == 4 * parameters);
  request.types.parameters = DataType::kFp8;
  CHECK(training_footprint(request).weights.base() == 2 * parameters);
}

TEST_CASE("micro-batches in flight count as often as they are", "[training]") {
  const Model model = plain_layers(4);
  TrainingMemoryRequest request{.model = model};
  request.tokens = 10;
  request.chunks = {{0, 2, true, false, 7}, {2, 4, false, true, 3}};
  const TrainingFootprint held = training_footprint(request);
  CHECK(held.activations.base() ==
        Approx(7 * kept_bytes(request, request.chunks[0]).base() + 3 * kept_bytes(request, request.chunks[1]).base()));
  CHECK(held.logits.base() == 3 * 10 * 1000 * 6.0);
  Bytes sum;
  for (const auto& part : held.parts()) {
    sum += part.size;
  }
  CHECK(sum == held.total());

  // One of the three before its loss goes back: the softmax of one, logits or their gradients of all.
  request.chunks[1].before_backward = 1;
  CHECK(training_footprint(request).logits.base() == 10 * 1000 * (3 * 2.0 + 4.0));
}
