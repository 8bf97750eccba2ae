#include <catch2/catch.hpp>
#include <cmath>

#include "models/kernels/profile.hpp"
#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"
#include "sim/core/random.hpp"

using namespace moesim;

namespace {
const Place kTestPlace{"test", ""};

RooflineProfile default_roofline() { return load_profile(ProfileName{"roofline"}, kTestPlace); }

std::unique_ptr<CostModel> on(std::string_view accelerator) {
  return make_cost_model(default_roofline(), find_accelerator(accelerator, kTestPlace));
}

double microseconds(const KernelCost& cost) { return cost.time.base() * 1e6; }

/// All types with the same figures: compute half of peak, memory half of bandwidth, launch 1 µs, floor 2 µs.
RooflineProfile round_figures() {
  RooflineProfile profile = default_roofline();
  for (auto& [op, terms] : profile.operators) {
    terms.types = {{DataType::kBf16,
                    {.compute_efficiency = 0.5,
                     .memory_efficiency = {{bytes(1e6), 0.5}},
                     .launch = seconds(1e-6),
                     .floor = seconds(2e-6)}}};
  }
  return profile;
}

/// 100 TFLOP/s, 1 TB/s.
Accelerator round_accelerator() {
  Accelerator accelerator;
  accelerator.name = "round";
  accelerator.peak = {{DataType::kBf16, flops_per_second(1e14)}};
  accelerator.memory_bandwidth = bytes_per_second(1e12);
  return accelerator;
}
}  // namespace

TEST_CASE("Time is launch plus the slower of compute and memory, at least the floor") {
  const auto model = make_cost_model(round_figures(), round_accelerator());
  // 2·1000³ = 2 GFLOP at 50 TFLOP/s: 40 µs; 6 MB at 0.5 TB/s: 12 µs.
  const KernelCost square = model->cost(Gemm{.m = 1000, .n = 1000, .k = 1000});
  CHECK(microseconds(square) == Approx(41.0));
  CHECK(square.bound == Bound::kCompute);
  CHECK(square.busy.base() == Approx(40e-6));
  // m = 1: 2 MFLOP take 0.04 µs; (1000 + 1e6 + 1000)·2 B take 4.008 µs.
  const KernelCost vector = model->cost(Gemm{.m = 1, .n = 1000, .k = 1000});
  CHECK(microseconds(vector) == Approx(5.008));
  CHECK(vector.bound == Bound::kMemory);
  // 30 elements: launch and next to nothing.
  const KernelCost tiny = model->cost(Gemm{.m = 1, .n = 5, .k = 4});
  CHECK(microseconds(tiny) == Approx(2.0));
  CHECK(tiny.busy < tiny.time * 0.001);
  // Streaming: 1 MB in, 1 MB out at 0.5 TB/s; the work on ordinary cores does not count.
  const Streaming copy{.read = bytes(1e6), .written = bytes(1e6), .work = flops(1e15)};
  CHECK(microseconds(model->cost(copy)) == Approx(5.0));
}

TEST_CASE("A kernel without work costs nothing") {
  const auto model = on("h200-sxm");
  const KernelCost cost = model->cost(Gemm{.m = 0, .n = 4096, .k = 4096});
  CHECK(cost.time == Duration{});
  CHECK(cost.bound == Bound::kOverhead);
  CHECK(model->warnings(Gemm{}).empty());
}

TEST_CASE("H200 times are near those measured") {
  const auto model = on("h200-sxm");
  // Latencies of the profile's sources, in µs: m = 64 and 2560, n = k = 4096 in bf16 take 12.6 and 106.
  CHECK(microseconds(model->cost(Gemm{.m = 64, .n = 4096, .k = 4096})) == Approx(12.6).epsilon(0.15));
  CHECK(microseconds(model->cost(Gemm{.m = 2560, .n = 4096, .k = 4096})) == Approx(106).epsilon(0.20));
  // 8192³ at .77 of 989 TFLOP/s.
  CHECK(microseconds(model->cost(Gemm{.m = 8192, .n = 8192, .k = 8192})) ==
        Approx(2 * 8192.0 * 8192 * 8192 / (0.77 * 989e12) * 1e6 + 3));
  // No kernel is faster than its floor.
  CHECK(microseconds(model->cost(Gemm{.m = 1, .n = 16, .k = 16})) == Approx(3.0).epsilon(0.01));
  CHECK(microseconds(model->cost(GenerationAttention{
            .sequences = 1, .keys = 16, .heads = 8, .kv_heads = 1, .head_dim = 128})) == Approx(10.0));
}

TEST_CASE("Decode attention reaches the share of HBM bandwidth that goes with its size") {
  const auto model = on("h200-sxm");
  // 512 B per key (one KV head of 128 in bf16, keys and values) and 512 B of query and output per sequence:
  // 61718 sequences of 99 keys are 3.16 GB, where the table says .87; 617 are 31.6 MB, where it says .21.
  const auto at = [&](std::int64_t sequences) {
    return model->cost(
        GenerationAttention{.sequences = sequences, .keys = 99, .heads = 1, .kv_heads = 1, .head_dim = 128});
  };
  CHECK(at(61718).time.base() == Approx(3.16e9 / (4.8e12 * 0.87)).epsilon(1e-3));
  CHECK(at(617).time.base() == Approx(3.16e7 / (4.8e12 * 0.21)).epsilon(1e-3));
  // Halfway between 31.6 and 316 MB in logarithm, 99.9 MB: √(.21·.61) = .358.
  CHECK(at(1952).time.base() == Approx(9.99e7 / (4.8e12 * 0.3579)).epsilon(2e-3));
}

TEST_CASE("Time never falls when a kernel grows", "[property]") {
  const auto model = on("h200-sxm");
  RandomStream random(11, "monotone");
  const auto between = [&](double low, double high) {
    return static_cast<std::int64_t>(low * std::pow(high / low, random.uniform()));
  };
  const std::array types{DataType::kBf16, DataType::kFp8, DataType::kFp8Block, DataType::kMxFp4};
  for (int trial = 0; trial < 3000; ++trial) {
    const DataType type = types[random.below(types.size())];
    const std::int64_t sequences = between(1, 1024);
    const std::int64_t keys = between(1, 200000);
    const std::int64_t more = keys + between(1, 1000);
    const auto pair = [&]() -> std::pair<Kernel, Kernel> {
      switch (random.below(5)) {
        case 0: {
          GenerationAttention a{
              .sequences = sequences, .keys = keys, .heads = 32, .kv_heads = 4, .head_dim = 128, .kv = type};
          GenerationAttention b = a;
          b.keys = more;
          return {a, b};
        }
        case 1: {
          LatentGenerationAttention a{
              .sequences = sequences, .keys = keys, .heads = 128, .kv_rank = 512, .rope_dim = 64, .kv = type};
          LatentGenerationAttention b = a;
          b.keys = more;
          return {a, b};
        }
        case 2: {
          Gemm a{.m = sequences, .n = 7168, .k = keys, .weight = type};
          Gemm b = a;
          b.k = more;
          return {a, b};
        }
        case 3: {
          GroupedGemm a{.rows = {sequences, 0, 3}, .n = 2048, .k = 7168, .weight = type};
          GroupedGemm b = a;
          b.rows[1] = 1;
          return {a, b};
        }
        default: {
          ContextAttention a{.sequences = 1,
                             .query = sequences,
                             .keys = sequences + keys,
                             .heads = 16,
                             .kv_heads = 2,
                             .qk_head_dim = 192,
                             .v_head_dim = 128,
                             .kv = type};
          ContextAttention b = a;
          b.keys += more;
          return {a, b};
        }
      }
    }();
    CAPTURE(trial, pair.first.index(), name_of(type), sequences, keys, more);
    CHECK(model->cost(pair.first).time <= model->cost(pair.second).time);
  }
}

TEST_CASE("A type without a rate falls back, and says so") {
  const Gemm fp8{.m = 8192, .n = 8192, .k = 8192, .weight = DataType::kFp8};
  // A100: bf16 at 312 TFLOP/s and bf16's share of peak; launch as for fp8.
  const auto a100 = on("a100-sxm-80gb");
  CHECK(microseconds(a100->cost(fp8)) == Approx(2 * 8192.0 * 8192 * 8192 / (0.77 * 312e12) * 1e6 + 6));
  CHECK(a100->cost(fp8).confidence == Confidence::kExtrapolated);
  CHECK(a100->warnings(fp8).front() ==
        "A100 SXM 80GB has no rate for fp8: gemm computes in bf16 and reads its operands as fp8");
  // ... and it still reads one byte per weight: a vector times a matrix of 8192² fp8.
  const Gemm skinny{.m = 1, .n = 8192, .k = 8192, .weight = DataType::kFp8};
  CHECK(microseconds(a100->cost(skinny)) == Approx((8192.0 * 8192 + 3 * 8192) / (0.67 * 2.039e12) * 1e6 + 6));

  // Hopper computes mxfp4 experts in bf16, at .6·.78 of its peak, and reads 4.25 bits a weight.
  const auto h200 = on("h200-sxm");
  const GroupedGemm experts{.rows = {65536}, .n = 2880, .k = 2880, .weight = DataType::kMxFp4};
  CHECK(microseconds(h200->cost(experts)) == Approx(2 * 65536.0 * 2880 * 2880 / (0.6 * 0.78 * 989e12) * 1e6 + 5));
  // Utilisation is still held against all of bf16's 989 TFLOP/s.
  CHECK(h200->cost(experts).peak_time.base() == Approx(2 * 65536.0 * 2880 * 2880 / 989e12));
  REQUIRE(h200->warnings(experts).size() == 1);
  CHECK(h200->warnings(experts).front() ==
        "H200 SXM has no rate for mxfp4: grouped_gemm computes in bf16 and reads its operands as mxfp4");

  // No GPU multiplies 4-bit integers of weights alone: bf16 on Blackwell too, whatever its rate for fp4.
  const GroupedGemm integers{.rows = {65536}, .n = 2880, .k = 2880, .weight = DataType::kInt4};
  CHECK(microseconds(h200->cost(integers)) == Approx(2 * 65536.0 * 2880 * 2880 / (0.6 * 0.78 * 989e12) * 1e6 + 5));
  CHECK(on("b200-sxm")->cost(integers).peak_time.base() == Approx(2 * 65536.0 * 2880 * 2880 / 2250e12));
  // One row reads 4.5 bits a weight and 16 bits for each input and output.
  const GroupedGemm one{.rows = {1}, .n = 8192, .k = 8192, .weight = DataType::kInt4};
  CHECK(h200->cost(one).demand.traffic.base() == Approx(8192.0 * 8192 * 4.5 / 8 + 2 * 2 * 8192.0));

  // Blocks of fp8 are fp8 to the tensor cores: nothing to warn of.
  CHECK(h200->warnings(Gemm{.m = 64, .n = 7168, .k = 2048, .weight = DataType::kFp8Block}).empty());
  CHECK(h200->cost(Gemm{.m = 64, .n = 7168, .k = 2048}).confidence == Confidence::kMeasured);
}

TEST_CASE("Where nothing fits, that is an error") {
  Accelerator accelerator = round_accelerator();
  accelerator.peak = {{DataType::kFp8, flops_per_second(1e14)}};
  const auto model = make_cost_model(default_roofline(), accelerator);
  CHECK_THROWS_AS(model->cost(Gemm{.m = 1, .n = 1, .k = 1}), ModelError);
  CHECK_THROWS_WITH(model->cost(Gemm{.m = 1, .n = 1, .k = 1}),
                    "round has no rate for bf16, nor for what it could be computed in");
  CHECK_NOTHROW(model->cost(Gemm{.m = 1, .n = 1, .k = 1, .weight = DataType::kFp8}));
  CHECK_NOTHROW(model->cost(Streaming{.read = bytes(1)}));
}

TEST_CASE("What lies outside the measurements is marked and explained") {
  const auto h200 = on("h200-sxm");
  // 100000² bf16 weights are 20 GB; the largest GEMM measured moved 8 GB.
  const Gemm huge{.m = 1, .n = 100000, .k = 100000};
  CHECK(h200->cost(huge).confidence == Confidence::kExtrapolated);
  CHECK(h200->warnings(huge).front() ==
        "gemm of 20 GB lies outside the 0 B to 8 GB that profile roofline was measured on");

  const auto b200 = on("b200-sxm");
  const Gemm plain{.m = 64, .n = 4096, .k = 4096};
  CHECK(b200->cost(plain).confidence == Confidence::kExtrapolated);
  REQUIRE(b200->warnings(plain).size() == 1);
  CHECK(b200->warnings(plain).front().find("profile roofline was measured on H200 SXM") == 0);
}
