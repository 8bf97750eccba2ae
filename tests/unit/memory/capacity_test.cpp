#include <catch2/catch.hpp>

#include "sim/core/error.hpp"
#include "tests/unit/memory/toy.hpp"

using namespace moesim;

TEST_CASE("KV capacity is what remains over the bytes of a token") {
  const Model model = toy_model();
  const MemoryRequest request = toy_request(model);
  const double rest = kToyWeights + 10 * kToyActivations;
  REQUIRE(footprint(request).total().base() == rest + 10 * 100 * 200.0);

  // Room for 1234 tokens of 200 B and 199 B more.
  CHECK(kv_capacity_tokens(request, toy_accelerator(rest + 1234 * 200 + 199)) == 1234);
  CHECK(kv_capacity_tokens(request, toy_accelerator(rest + 1235 * 200)) == 1235);
  CHECK(kv_capacity_tokens(request, toy_accelerator(rest)) == 0);
  CHECK(kv_capacity_tokens(request, toy_accelerator(rest / 2)) == 0);

  // In pages of 16: 77 whole ones.
  MemoryRequest paged = request;
  paged.kv_block = 16;
  CHECK(kv_capacity_tokens(paged, toy_accelerator(rest + 1234 * 200 + 199)) == 1232);
  // Only half the memory is the server's.
  MemoryRequest half = request;
  half.memory_fraction = 0.5;
  CHECK(kv_capacity_tokens(half, toy_accelerator(2 * (rest + 1234 * 200))) == 1234);
  // fp8 holds twice as many.
  MemoryRequest narrow = request;
  narrow.precision.kv = DataType::kFp8;
  CHECK(kv_capacity_tokens(narrow, toy_accelerator(rest + 1234 * 200)) == 2468);
}

TEST_CASE("Where every layer has a window, nothing grows with the tokens") {
  const Model model = toy_model(32);
  CHECK(kv_capacity_tokens(toy_request(model), toy_accelerator(1e9)) == std::nullopt);
}

TEST_CASE("Windowed layers take their windows off the room for the others") {
  const Model model = load_model(ModelName{"gpt-oss-20b"}, {"test", ""});
  const MemoryRequest request{.model = model,
                              .expert_slots = std::vector<std::size_t>(model.moe_layers(), 32),
                              .sequences = 8,
                              .step_tokens = 8};
  // 12 layers of each kind, 2048 B per token and layer: windows of 128 for 8 sequences 12·2048·128·8 = 25.2 MB; then
  // 12·2048 = 24,576 B per token.
  const double rest = footprint(request).total().base();
  CHECK(kv_capacity_tokens(request, toy_accelerator(rest + 12 * 2048.0 * 128 * 8 + 24576.0 * 5000)) == 5000);
}

TEST_CASE("The capacity of DeepSeek-V3 on H200 fills it to the last token") {
  const Model model = load_model(ModelName{"deepseek-v3"}, {"test", ""});
  const Accelerator h200 = find_accelerator("h200-sxm", {"test", ""});
  MemoryRequest request{.model = model,
                        .precision = {.weights = DataType::kFp8Block, .dispatch = DataType::kFp8Block},
                        .expert_ranks = 32,
                        .expert_slots = std::vector<std::size_t>(model.moe_layers(), 8),
                        .sequences = 1,
                        .step_tokens = 128,
                        .exchange = ExpertExchange::kLowLatency,
                        .max_dispatch_tokens = 128};
  const auto capacity = kv_capacity_tokens(request, h200);
  REQUIRE(capacity);
  // By hand, in GB: 150.75 − experts 20.43 − shared 2.55 − dense 1.19 − attention 12.44 − embedding 3.71 − router 0.21
  // − buffers 1.91 − reserve 3.9 − activations 1.1 = 103.3; over 70,272 B: 1.470 million tokens.
  CHECK(static_cast<double>(*capacity) == Approx(1.470e6).epsilon(0.002));
  request.tokens_per_sequence = *capacity;
  CHECK_NOTHROW(check_fits(request, h200, {"test", ""}));
  request.tokens_per_sequence += 1;
  CHECK_THROWS_AS(check_fits(request, h200, {"test", ""}), ModelError);
}
