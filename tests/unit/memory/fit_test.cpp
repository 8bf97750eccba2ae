#include <catch2/catch.hpp>

#include "sim/core/error.hpp"
#include "tests/unit/memory/toy.hpp"

using namespace moesim;

namespace {
const Place kHere{"scenario.json", "/cluster"};

std::string complaint(const MemoryRequest& request, const Accelerator& accelerator) {
  try {
    check_fits(request, accelerator, kHere);
  } catch (const ModelError& error) {
    return error.what();
  }
  return "";
}
}  // namespace

TEST_CASE("What fits to the byte passes, one byte less does not") {
  const Model model = toy_model();
  const MemoryRequest request = toy_request(model);
  const double needed = footprint(request).total().base();
  CHECK(complaint(request, toy_accelerator(needed)).empty());
  CHECK_FALSE(complaint(request, toy_accelerator(needed - 1)).empty());
}

TEST_CASE("The complaint says by how much, what is largest, and what would fit") {
  const Model model = toy_model();
  // Needed: weights 281,400, cache 10·100·200 = 200,000, activations 10·1400 = 14,000: 495,400 B. There: 400,000 B.
  // A sequence takes 20,000 + 1,400 B: (400000 − 281400)/21400 = 5.5, so 5. Tokens: (400000 − 295400)/2000 = 52.3,
  // so 52. Experts 60,000 B each: on 2 ranks two fewer, 375,400 B. TP 2 takes off half of the
  // experts (120,000 B) and of queries and outputs (10,000 B), besides some activations. Experts in fp8: 120,000 B
  // less. Cache in fp8: 100,000 less.
  CHECK(complaint(toy_request(model), toy_accelerator(400000)) ==
        "scenario.json#/cluster: does not fit: 495.4 kB needed per rank, 400 kB usable on toy GPU, 95.4 kB too much; "
        "largest: expert weights 240 kB, KV cache 200 kB, attention weights 40 kB; it fits with at most 5 sequences "
        "per rank, or with at most 52 tokens per sequence, or with 2 expert ranks, or with tensor parallelism 2, or "
        "with experts in fp8, or with a KV cache in fp8");
}

TEST_CASE("Remedies are computed: each fits, and the next step does not") {
  const Model model = toy_model();
  const Accelerator gpu = toy_accelerator(400000);
  const auto passes = [&](auto change) {
    MemoryRequest request = toy_request(model);
    change(request);
    return complaint(request, gpu).empty();
  };
  const auto sequences = [](std::int64_t count) {
    return [count](MemoryRequest& request) {
      request.sequences = count;
      request.step_tokens = count;
    };
  };
  CHECK(passes(sequences(5)));
  CHECK_FALSE(passes(sequences(6)));
  CHECK(passes([](MemoryRequest& request) { request.tokens_per_sequence = 52; }));
  CHECK_FALSE(passes([](MemoryRequest& request) { request.tokens_per_sequence = 53; }));
  CHECK(passes([](MemoryRequest& request) {
    request.expert_ranks = 2;
    request.expert_slots = {2};
  }));
  CHECK(passes([](MemoryRequest& request) {
    request.tensor_parallel = 2;
    request.expert_tensor_parallel = 2;
  }));
  CHECK(passes([](MemoryRequest& request) { request.precision.experts = DataType::kFp8; }));
  CHECK(passes([](MemoryRequest& request) { request.precision.kv = DataType::kFp8; }));
}

TEST_CASE("Dispatch buffers and drafts shrink with the step: the remedies say the most that fits") {
  const Model model = load_model(ModelName{"deepseek-v3"}, {"test", ""});
  const Accelerator h200 = find_accelerator("h200-sxm", {"test", ""});
  const auto request = [&](std::int64_t sequences, int drafts) {
    return MemoryRequest{.model = model,
                         .precision = {.weights = DataType::kFp8Block},
                         .expert_ranks = 32,
                         .expert_slots = std::vector<std::size_t>(model.moe_layers(), 8),
                         .sequences = sequences,
                         .tokens_per_sequence = 4096,
                         .step_tokens = sequences * (1 + drafts),
                         .draft_tokens = drafts,
                         .expert_rows = sequences * (1 + drafts) * 8,
                         .exchange = ExpertExchange::kLowLatency,
                         .max_dispatch_tokens = sequences * (1 + drafts)};
  };
  // "at most 335 sequences": the number before what it counts.
  const auto most = [](const std::string& text, const std::string& counted) {
    const std::size_t end = text.find(counted);
    REQUIRE(end != std::string::npos);
    return std::stoll(text.substr(text.rfind(' ', end - 1) + 1));
  };
  for (const int drafts : {0, 1, 8}) {
    CAPTURE(drafts);
    const std::int64_t sequences = most(complaint(request(900, drafts), h200), " sequences per rank");
    CHECK(complaint(request(sequences, drafts), h200).empty());
    CHECK_FALSE(complaint(request(sequences + 1, drafts), h200).empty());
    if (drafts == 8) {  // two more sequences fit with fewer drafts
      const auto fewer = static_cast<int>(most(complaint(request(sequences + 2, 8), h200), " draft tokens"));
      CHECK(complaint(request(sequences + 2, fewer), h200).empty());
      CHECK_FALSE(complaint(request(sequences + 2, fewer + 1), h200).empty());
    }
  }
}

TEST_CASE("Where nothing helps, the complaint says so") {
  const Model model = toy_model();
  CHECK(complaint(toy_request(model), toy_accelerator(1000)) ==
        "scenario.json#/cluster: does not fit: 495.4 kB needed per rank, 1 kB usable on toy GPU, 494.4 kB too much; "
        "largest: expert weights 240 kB, KV cache 200 kB, attention weights 40 kB; no single change of batch, length, "
        "ranks or types makes it fit");
}

TEST_CASE("DeepSeek-V3 in bf16 on eight H100s does not fit, and says from how many ranks on it does") {
  const Model model = load_model(ModelName{"deepseek-v3"}, {"test", ""});
  const Accelerator h100 = find_accelerator("h100-sxm", {"test", ""});
  const MemoryRequest request{.model = model,
                              .precision = {.weights = DataType::kBf16},
                              .expert_ranks = 8,
                              .expert_slots = std::vector<std::size_t>(model.moe_layers(), 32),
                              .sequences = 16,
                              .tokens_per_sequence = 2048,
                              .step_tokens = 16};
  // In GB beside the experts: attention 22.8, shared 5.1, dense 2.4, embedding 3.7, router 0.2, cache 2.3, reserve
  // 3.9: 40.4 of 85.5, so 45.1 for experts; a slot takes 58·88.1 MB = 5.11 GB, so at most 8 slots: 256/8 = 32 ranks.
  const std::string text = complaint(request, h100);
  CHECK(text.find("with 32 expert ranks") != std::string::npos);
  CHECK(text.find("sequences per rank") == std::string::npos);
  CHECK(text.find("experts in fp8") == std::string::npos);
}
