#include <catch2/catch.hpp>

#include "models/memory/memory.hpp"
#include "sim/core/quantity.hpp"
#include "tests/unit/memory/toy.hpp"

using namespace moesim;

namespace {
Model load(const char* name) { return load_model(ModelName{name}, {"test", ""}); }

std::vector<std::size_t> slots(const Model& model, std::size_t per_layer) {
  return std::vector<std::size_t>(model.moe_layers(), per_layer);
}
}  // namespace

TEST_CASE("DeepSeek-V3 over 32 expert ranks in fp8") {
  const Model model = load("deepseek-v3");
  const MemoryRequest request{.model = model,
                              .precision = {.weights = DataType::kFp8Block, .kv = DataType::kBf16},
                              .expert_ranks = 32,
                              .expert_slots = slots(model, 8),
                              .sequences = 128,
                              .tokens_per_sequence = 4096,
                              .step_tokens = 128};
  const MemoryFootprint held = footprint(request);
  // 8 experts on each of 58 layers, 3·7168·2048 = 44,040,192 parameters of one byte: 20.43 GB.
  CHECK(held.expert_weights.base() == 8.0 * 58 * 44040192);
  // One shared expert of the same size per layer.
  CHECK(held.shared_expert_weights.base() == 58.0 * 44040192);
  // Three dense layers, 3·7168·18432 each.
  CHECK(held.dense_weights.base() == 3.0 * 3 * 7168 * 18432);
  // Embedding and LM head stay in bf16: 2·129280·7168·2 B = 3.71 GB.
  CHECK(held.embedding.base() == 2.0 * 129280 * 7168 * 2);
  // Attention, 61 layers: down 7168·1536 + 7168·576, up 1536·128·192 + 512·128·256, out 128·128·7168, and the
  // latents' norms 1536 + 512; up-projections of keys and values, 512·128·256, once more for generation.
  CHECK(held.mixer_weights.base() ==
        61.0 * (7168 * 1536 + 7168 * 576 + 1536 * 128 * 192 + 2 * 512 * 128 * 256 + 128 * 128 * 7168 + 1536 + 512));
  // 61·(512 + 64)·2 B = 70,272 B per token (published); 128 sequences of 4096 tokens.
  CHECK(held.kv_cache.base() == 128.0 * 4096 * 70272);
  CHECK(held.recurrent_state == Bytes{});
  CHECK(held.communication_buffers == Bytes{});
  CHECK(held.reserve.base() == 3.9e9);

  Bytes sum;
  for (const auto& part : held.parts()) {
    CHECK_FALSE(part.name.empty());
    sum += part.size;
  }
  CHECK(sum == held.total());
}

TEST_CASE("Weights are of the type that the model was released in, unless another is asked for") {
  const auto held = [](const char* name, Precision precision) {
    const Model model = load(name);
    return footprint(MemoryRequest{.model = model,
                                   .precision = precision,
                                   .expert_ranks = 1,
                                   .expert_slots = slots(model, 8),
                                   .sequences = 1,
                                   .tokens_per_sequence = 1,
                                   .step_tokens = 1});
  };
  const double v3 = 8.0 * 58 * 44040192;  // parameters of eight experts in 58 layers, as above
  CHECK(held("deepseek-v3", {}).expert_weights.base() == v3);
  CHECK(held("deepseek-v3", {.weights = DataType::kBf16}).expert_weights.base() == 2.0 * v3);
  CHECK(held("deepseek-v3", {.weights = DataType::kBf16, .experts = DataType::kFp8}).expert_weights.base() == v3);
  CHECK(held("deepseek-v3", {.weights = DataType::kBf16}).dense_weights.base() ==
        2.0 * held("deepseek-v3", {}).dense_weights.base());
  // OLMoE is released in bf16: 16 layers of experts with 3·2048·1024 parameters.
  CHECK(held("olmoe-1b-7b", {}).expert_weights.base() == 2.0 * 8 * 16 * 3 * 2048 * 1024);
  // gpt-oss: experts in mxfp4, whatever the type of the other weights.
  CHECK(held("gpt-oss-20b", {}).expert_weights == held("gpt-oss-20b", {.weights = DataType::kFp8}).expert_weights);
  // Attention may have a type of its own; without one it has that of the dense matrices.
  const MemoryFootprint all = held("deepseek-v3", {.weights = DataType::kFp8});
  const MemoryFootprint wide = held("deepseek-v3", {.weights = DataType::kFp8, .attention = DataType::kBf16});
  // Without the copies of the up-projections that 8-bit attention has, 61·128·256·512 B.
  CHECK(wide.mixer_weights.base() == 2.0 * (all.mixer_weights.base() - 61.0 * 128 * 256 * 512));
  CHECK(wide.dense_weights == all.dense_weights);
  CHECK(wide.shared_expert_weights == all.shared_expert_weights);
  // Kimi-K2-Thinking: 4.5 bits for each of eight experts' 3·7168·2048 weights in 60 layers, 16 for all others.
  CHECK(held("kimi-k2-thinking", {}).expert_weights.base() == 8.0 * 60 * 44040192 * 4.5 / 8);
  CHECK(held("kimi-k2-thinking", {}).mixer_weights == held("kimi-k2", {.weights = DataType::kBf16}).mixer_weights);
}

TEST_CASE("A latent cache is whole on every tensor-parallel rank, unless tokens are split") {
  const Model model = load("deepseek-v3");
  CHECK(kv_bytes_per_token(model, DataType::kBf16, 1).base() == 70272);
  CHECK(kv_bytes_per_token(model, DataType::kBf16, 8).base() == 70272);
  CHECK(kv_bytes_per_token(model, DataType::kBf16, 8, KvSharding::kTokens).base() == 8784);
  CHECK(kv_bytes_per_token(model, DataType::kFp8, 1).base() == 35136);
}

TEST_CASE("Latent attention's down-projections are on every tensor-parallel rank") {
  const Model model = load("deepseek-v3");
  MemoryRequest request{.model = model,
                        .precision = {.weights = DataType::kBf16},
                        .tensor_parallel = 8,
                        .expert_ranks = 8,
                        .expert_slots = slots(model, 32)};
  // Split over 8: 1536·128·192 + 512·128·256 + 128·128·7168. Whole: 7168·(1536 + 576) and the norms.
  const double split = 1536.0 * 128 * 192 + 512.0 * 128 * 256 + 128.0 * 128 * 7168;
  const double whole = 7168.0 * (1536 + 576) + 1536 + 512;
  CHECK(footprint(request).mixer_weights.base() == Approx(61 * 2 * (split / 8 + whole)).epsilon(1e-12));
}

TEST_CASE("Latents that were cached are expanded in parts") {
  const Model model = load("deepseek-v3");
  const auto activations = [&](std::int64_t cached) {
    return activation_bytes({.model = model,
                             .expert_ranks = 32,
                             .expert_slots = slots(model, 8),
                             .phase = ServingPhase::kContext,
                             .sequences = 8,
                             .tokens_per_sequence = cached + 512,
                             .step_tokens = 8 * 512});
  };
  // 128 heads of 128 + 64 + 128 elements of 2 B: 81,920 B a token, for at most 65536 cached tokens at once.
  CHECK((activations(8192) - activations(4096)).base() == Approx(81920.0 * 8 * 4096));
  CHECK(activations(130560) == activations(8192));
}

TEST_CASE("Gathered tokens are held twice, before and after the experts") {
  const Model model = load("deepseek-v3");
  MemoryRequest request{.model = model, .expert_ranks = 32, .expert_slots = slots(model, 8), .step_tokens = 8192};
  request.exchange = ExpertExchange::kGathered;
  request.max_dispatch_tokens = 8192;
  request.precision.dispatch = DataType::kBf16;
  request.precision.combine = DataType::kBf16;
  // 32·8192 tokens of 7168 elements of 2 B, twice.
  CHECK(communication_buffer_bytes(request).base() == 2.0 * 32 * 8192 * 7168 * 2);
}

TEST_CASE("Mixtral 8x7B over two tensor-parallel ranks") {
  const Model model = load("mixtral-8x7b");
  const MemoryRequest request{.model = model,
                              .tensor_parallel = 2,
                              .expert_tensor_parallel = 2,
                              .expert_slots = slots(model, 8),
                              .sequences = 16,
                              .tokens_per_sequence = 1000,
                              .step_tokens = 16};
  const MemoryFootprint held = footprint(request);
  // All 8 experts of 32 layers, half of each: 3·4096·14336/2 parameters of 2 B: 45.1 GB.
  CHECK(held.expert_weights.base() == 8.0 * 32 * 3 * 4096 * 14336);
  // Half of q, o [4096, 4096] and k, v [4096, 1024] of 32 layers, 2 B.
  CHECK(held.mixer_weights.base() == 32.0 * (2 * 4096 * 4096 + 2 * 4096 * 1024));
  // The router [4096, 8] is on both.
  CHECK(held.router.base() == 32.0 * 4096 * 8 * 2);
  // 2·8·128·32·2 B = 131,072 B per token, half of the heads here.
  CHECK(held.kv_cache.base() == 16.0 * 1000 * 65536);
}

TEST_CASE("Qwen3-235B: KV heads are split down to one, then copied") {
  const Model model = load("qwen3-235b-a22b");
  // 2·4·128·94·2 B = 192,512 B per token; 4 heads over 4 ranks one each, over 8 ranks still one each.
  CHECK(kv_bytes_per_token(model, DataType::kBf16, 1).base() == 192512);
  CHECK(kv_bytes_per_token(model, DataType::kBf16, 4).base() == 48128);
  CHECK(kv_bytes_per_token(model, DataType::kBf16, 8).base() == 48128);
  CHECK(kv_bytes_per_token(model, DataType::kBf16, 8, KvSharding::kTokens).base() == 24064);

  MemoryRequest request{.model = model, .tensor_parallel = 8, .expert_ranks = 8, .expert_slots = slots(model, 16)};
  // 16 experts of 94 layers, 3·4096·1536 = 18,874,368 parameters, 2 B: 56.8 GB.
  CHECK(footprint(request).expert_weights.base() == 16.0 * 94 * 18874368 * 2);
  // Queries and outputs 4096·8192 each over 8 ranks, one KV head's keys and values 2·4096·128, whole; the norms over
  // heads (2·128) are counted as split.
  CHECK(footprint(request).mixer_weights.base() ==
        Approx(94 * 2.0 * (2 * 4096 * 8192 / 8.0 + 2 * 4096 * 128)).epsilon(1e-4));
}

TEST_CASE("gpt-oss: a sliding window bounds half of the layers' cache, experts are mxfp4 as released") {
  const Model model = load("gpt-oss-120b");
  MemoryRequest request{
      .model = model, .expert_slots = slots(model, 128), .sequences = 1, .tokens_per_sequence = 4096, .step_tokens = 1};
  // 2·8·64·2 B = 2048 B per token and layer; 18 layers hold 4096 tokens, 18 a window of 128.
  CHECK(kv_bytes_per_sequence(request).base() == 2048.0 * 18 * (4096 + 128));
  CHECK(kv_bytes_per_token(model, DataType::kBf16, 1).base() == 2048.0 * 36);
  // Below the window nothing is saved.
  request.tokens_per_sequence = 100;
  CHECK(kv_bytes_per_sequence(request).base() == 2048.0 * 36 * 100);
  // Pages of 64: 100 tokens take two.
  request.kv_block = 64;
  CHECK(kv_bytes_per_sequence(request).base() == 2048.0 * 36 * 128);

  // 128 experts of 36 layers: 3·2880² weights and 3·2880 biases at 4.25 bits.
  const double experts = 128.0 * 36 * (3.0 * 2880 * 2880 + 3 * 2880);
  CHECK(footprint(request).expert_weights.base() == Approx(experts * 4.25 / 8).epsilon(1e-12));
  request.precision.experts = DataType::kBf16;
  CHECK(footprint(request).expert_weights.base() == Approx(experts * 2).epsilon(1e-12));
}

TEST_CASE("Qwen3-Next keeps a state per sequence where it has no cache") {
  const Model model = load("qwen3-next-80b-a3b");
  // 36 linear layers with 32 value heads, states 128×128 in fp32, and 3 past inputs of the convolution over
  // 2·16·128 + 32·128 channels in bf16; 12 layers of grouped-query attention with 2 KV heads of 256.
  CHECK(recurrent_bytes_per_sequence(model, {}, 1).base() == 36.0 * (32 * 128 * 128 * 4 + 3 * 8192 * 2));
  CHECK(kv_bytes_per_token(model, DataType::kBf16, 1).base() == 12.0 * 2 * 2 * 256 * 2);
}

TEST_CASE("Low-latency buffers are DeepEP's") {
  const Model model = load("deepseek-v3");
  MemoryRequest request{.model = model,
                        .expert_ranks = 32,
                        .expert_slots = slots(model, 8),
                        .exchange = ExpertExchange::kLowLatency,
                        .max_dispatch_tokens = 128};
  // Messages: dispatch 16 + 14336, combine 56·4 + 14336 = 14560 B. Send and receive 256·128·14560 each; flags
  // 8·256 + 4·8 = 2080, aligned 2176. Twice the sum: 1.908 GB.
  CHECK(communication_buffer_bytes(request).base() == 2.0 * (2.0 * 256 * 128 * 14560 + 2176));
  // On one rank nothing is sent.
  request.expert_ranks = 1;
  CHECK(communication_buffer_bytes(request) == Bytes{});
}

TEST_CASE("Normal buffers are DeepEP's and do not grow with the batch") {
  const Model model = load("deepseek-v3");
  MemoryRequest request{.model = model,
                        .expert_ranks = 8,
                        .expert_slots = slots(model, 32),
                        .step_tokens = 4096,
                        .exchange = ExpertExchange::kHighThroughput};
  // 10 channels × 8 peers × (288 tokens of 14336 + 8 + 1536 + 512 B, 5 ints), and 64 to a multiple of 128: 377.7 MB.
  CHECK(communication_buffer_bytes(request).base() == 10.0 * 8 * (288 * 16392.0 + 20) + 64);
  const Bytes before = communication_buffer_bytes(request);
  request.step_tokens *= 4;
  CHECK(communication_buffer_bytes(request) == before);
}

TEST_CASE("Activations of a prompt's step") {
  const Model model = load("mixtral-8x7b");
  const MemoryRequest request{.model = model,
                              .expert_slots = slots(model, 8),
                              .phase = ServingPhase::kContext,
                              .sequences = 4,
                              .tokens_per_sequence = 2048,
                              .step_tokens = 8192};
  // Residual and normed input 2·8192·4096·2 B; widest: two expert rows per token, each with its input and output
  // (4096) and three inner activations of 14336. Logits 4·32000·4 B are less.
  CHECK(activation_bytes(request).base() == 2.0 * 8192 * 4096 * 2 + 2.0 * 8192 * (2 * 4096 + 3 * 14336) * 2);
  // Rows that are known count instead of the balanced ones.
  MemoryRequest skewed = request;
  skewed.expert_rows = 40000;
  CHECK(activation_bytes(skewed).base() == 2.0 * 8192 * 4096 * 2 + 40000.0 * (2 * 4096 + 3 * 14336) * 2);
}

TEST_CASE("The footprint grows with what there is more of", "[property]") {
  for (const char* name : {"deepseek-v3", "gpt-oss-20b", "qwen3-next-80b-a3b", "mixtral-8x22b"}) {
    CAPTURE(name);
    const Model model = load(name);
    const MemoryRequest base{.model = model,
                             .tensor_parallel = 2,
                             .expert_ranks = 8,
                             .expert_slots = slots(model, 4),
                             .sequences = 64,
                             .tokens_per_sequence = 3000,
                             .step_tokens = 64,
                             .exchange = ExpertExchange::kLowLatency,
                             .max_dispatch_tokens = 64};
    const Bytes size = footprint(base).total();
    const auto with = [&](auto change) {
      MemoryRequest changed = base;
      change(changed);
      return footprint(changed).total();
    };
    CHECK(with([](MemoryRequest& r) { r.sequences += 1; }) > size);
    CHECK(with([](MemoryRequest& r) { r.tokens_per_sequence += 1; }) > size);
    CHECK(with([](MemoryRequest& r) { r.step_tokens += 1; }) > size);
    CHECK(with([](MemoryRequest& r) { r.max_dispatch_tokens += 1; }) > size);
    CHECK(with([](MemoryRequest& r) { r.expert_slots[3] += 1; }) > size);
    CHECK(with([](MemoryRequest& r) { r.precision.weights = DataType::kFp32; }) > size);
    CHECK(with([](MemoryRequest& r) { r.tensor_parallel = 1; }) > size);
    CHECK(with([](MemoryRequest& r) { r.kv_block = 1000000; }) > size);
    CHECK(with([](MemoryRequest& r) { r.precision.kv = DataType::kFp8; }) < size);
  }
}

TEST_CASE("An indexer is on every rank whole, and keeps a key of its own for every token") {
  const Model sparse = load("deepseek-v3.2");
  const Model dense = load("deepseek-v3");
  const auto held = [](const Model& model, int tensor_parallel) {
    return footprint(MemoryRequest{.model = model,
                                   .precision = {.weights = DataType::kBf16, .kv = DataType::kBf16},
                                   .tensor_parallel = tensor_parallel,
                                   .expert_ranks = 32,
                                   .expert_slots = slots(model, 8),
                                   .sequences = 2,
                                   .tokens_per_sequence = 1024,
                                   .step_tokens = 2});
  };
  // 61 layers of 1536·64·128 for queries, 7168·(128 + 64) for key and weights, a LayerNorm of 128.
  const double indexer = 61.0 * (1536 * 64 * 128 + 7168 * (128 + 64) + 2 * 128) * 2;
  // A key in fp8 and a scale of 4 B.
  const double keys = 2.0 * 1024 * 61 * 132;
  for (const int tensor_parallel : {1, 8}) {
    const MemoryFootprint with = held(sparse, tensor_parallel);
    const MemoryFootprint without = held(dense, tensor_parallel);
    CHECK(with.mixer_weights.base() - without.mixer_weights.base() == Approx(indexer).epsilon(1e-9));
    CHECK(with.kv_cache.base() - without.kv_cache.base() == Approx(keys).epsilon(1e-9));
  }
}

// Beside the toy's weights (toy.hpp): the layer once more, 20,000 + 4·30,000 + 400, a projection of 2·100·100 and five
// norms of 100, in 2 B; its cache of 200 B a token.
TEST_CASE("A module that drafts adds a layer, what is before it, and a layer's cache") {
  Architecture architecture = toy_model().architecture();
  architecture.multi_token_prediction_layers = 1;
  const Model model(std::move(architecture), {"toy.json", ""});
  MemoryRequest request = toy_request(model);
  request.step_tokens = 30;
  const MemoryFootprint without = footprint(request);
  request.draft_tokens = 2;
  const MemoryFootprint with = footprint(request);
  const double module = 2.0 * (20000 + 4 * 30000 + 400 + 2 * 100 * 100 + 5 * 100);
  CHECK(with.draft_modules.base() == module);
  CHECK((with.total() - without.total()).base() == module + 10 * 100 * 200.0);
  CHECK((with.weights() - without.weights()).base() == module);
}

TEST_CASE("Recurrent layers keep a state for each draft") {
  const Model model = load("qwen3-next-80b-a3b");
  MemoryRequest request{.model = model, .expert_slots = slots(model, 512), .sequences = 3, .step_tokens = 12};
  const double one = footprint(request).recurrent_state.base();
  request.draft_tokens = 3;
  CHECK(footprint(request).recurrent_state.base() == Approx(5.0 * one).epsilon(1e-12));
}
