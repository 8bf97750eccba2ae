#include "validate/fit/calibrate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>

#include "sim/config/describe.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "sim/core/quantity.hpp"
#include "sim/core/random.hpp"
#include "tests/scratch.hpp"
#include "validate/fit/validate.hpp"

namespace moesim {
namespace {

/// GEMMs whose times obey a law: 4 µs + 1.5 times what H200's peaks need.
MeasurementTable lawful(const std::vector<std::int64_t>& widths) {
  MeasurementTable table{.file = "lawful.csv"};
  const Accelerator h200 = find_accelerator("h200-sxm", {});
  for (const std::int64_t n : widths) {
    for (const std::int64_t k : widths) {
      for (std::int64_t m = 1; m <= 16384; m *= 2) {
        Measurement row;
        row.kernel = Gemm{.m = m, .n = n, .k = k};
        row.op = "gemm";
        row.variant = "law";
        row.shape = std::to_string(n) + " " + std::to_string(k);
        row.size = std::to_string(m);
        row.time = seconds(4e-6) + 1.5 * fit_query(row.kernel, h200).light();
        row.row = table.rows.size();
        table.rows.push_back(std::move(row));
      }
    }
  }
  return table;
}

CalibrationOptions quick() {
  CalibrationOptions options;
  options.name = "law";
  options.folds = 3;
  options.boosting.trees = 100;
  options.boosting.leaves = 16;
  return options;
}

TEST_CASE("errors of a few rows, by hand") {
  // |e| = 0.1 (four times), 0.2 … median and p90 by nearest rank of 5 and of 10.
  const FitErrors errors = errors_of({0.1, -0.1, 0.2, -0.4, 0.0});
  CHECK(errors.n == 5);
  CHECK(errors.mape == Approx(0.16));   // (.1 + .1 + .2 + .4 + 0) / 5
  CHECK(errors.median == Approx(0.1));  // 0 .1 .1 .2 .4: the third
  CHECK(errors.p90 == Approx(0.4));     // ceil(4.5): the fifth
  CHECK(errors.worst == Approx(0.4));
  CHECK(errors.bias == Approx(-0.04));  // (.1 − .1 + .2 − .4 + 0) / 5
  CHECK(errors_of({}).n == 0);
}

TEST_CASE("kernels that obey a law are predicted by it") {
  const MeasurementTable table = lawful({512, 1024, 2048, 4096, 8192});
  const Calibration result = calibrate({table}, "h200-sxm", quick(), TaskPool(1));
  REQUIRE(result.profile.fits.size() == 1);
  const KernelFit& fit = result.profile.fits[0];
  CHECK(fit.rows == 25 * 15);
  CHECK(fit.in_grid->n == 25 * 15);  // every row is held back once
  CHECK(fit.out_of_grid->n == 25 * 15);
  CHECK(fit.in_grid->mape < 0.05);
  CHECK(fit.out_of_grid->mape < 0.1);

  KernelProfile profile;
  profile.base = load_profile(ProfileName{"roofline"}, {});
  profile.fitted = std::make_shared<FittedKernels>(result.profile, Place{"law", ""});
  const Accelerator h200 = find_accelerator("h200-sxm", {});
  const Validation validation = validate(table, profile, h200);
  REQUIRE(validation.operators.size() == 1);
  CHECK(validation.operators[0].op == "gemm");
  CHECK(validation.operators[0].errors.n == 25 * 15);
  CHECK(validation.operators[0].errors.mape < 0.02);  // these rows it has seen

  // The cost model says the same, never less than the peaks allow, and owns up to shapes beyond the measured ones.
  const auto costs = make_cost_model(profile, h200);
  for (const Measurement& row : table.rows) {
    const KernelCost cost = costs->cost(std::get<Gemm>(row.kernel));
    CHECK(cost.time / row.time == Approx(1.0).margin(0.25));
    CHECK(cost.time >= fit_query(row.kernel, h200).light());
    CHECK(cost.busy <= cost.time);
    CHECK(cost.confidence == Confidence::kMeasured);
  }
  const Gemm beyond{.m = 1, .n = 65536, .k = 512};
  CHECK(costs->cost(beyond).confidence == Confidence::kExtrapolated);
  CHECK(costs->warnings(beyond) ==
        std::vector<std::string>{"a gemm in bf16 lies outside the shapes that profile law was fitted on (n): its "
                                 "utilisation is held to what is usual there"});

  // Utilisation carries over: B200 has more FLOP/s, so that a large GEMM takes less time by that factor.
  const Accelerator b200 = find_accelerator("b200-sxm", {});
  const auto there = make_cost_model(profile, b200);
  const Gemm large{.m = 16384, .n = 8192, .k = 8192};
  const double faster = b200.peak.at(DataType::kBf16) / h200.peak.at(DataType::kBf16);
  CHECK(costs->cost(large).time / there->cost(large).time == Approx(faster).epsilon(0.01));
  CHECK(there->cost(large).confidence == Confidence::kExtrapolated);
  CHECK(there->warnings(large).front() ==
        "profile law was fitted on H200 SXM; its utilisations are taken to hold on " + b200.name + " too");
}

/// Experts whose times obey a law, but for every ninth shape, which takes six times as long: as if not tuned to.
MeasurementTable partly_untuned() {
  MeasurementTable table{.file = "experts.csv"};
  const Accelerator h200 = find_accelerator("h200-sxm", {});
  std::size_t shape = 0;
  for (const std::int64_t hidden : {2048, 3072, 4096}) {
    for (const std::int64_t width : {256, 512, 1024}) {
      for (const std::int64_t local : {4, 16, 64}) {
        const double factor = shape++ % 9 == 4 ? 6.0 : 1.0;
        for (std::int64_t tokens = 64; tokens <= 16384; tokens *= 2) {
          Measurement row;
          row.kernel = Experts{.rows = std::vector<std::int64_t>(static_cast<std::size_t>(local), tokens * 8 / 64),
                               .tokens = tokens,
                               .experts = 64,
                               .experts_per_token = 8,
                               .hidden = hidden,
                               .intermediate = width,
                               .exponent = 0.0};
          row.op = "moe";
          row.variant = "law";
          row.shape = fmt::format("{} {}", hidden, width);
          row.size = fmt::format("{} {}", local, tokens);
          row.time = factor * (seconds(20e-6) + 1.5 * fit_query(row.kernel, h200).expected);
          row.row = table.rows.size();
          table.rows.push_back(std::move(row));
        }
      }
    }
  }
  return table;
}

TEST_CASE("shapes far slower than their like are set aside, and remembered") {
  const MeasurementTable table = partly_untuned();
  const Accelerator h200 = find_accelerator("h200-sxm", {});
  const Calibration result = calibrate({table}, "h200-sxm", quick(), TaskPool(1));
  REQUIRE(result.profile.fits.size() == 1);
  const KernelFit& fit = result.profile.fits[0];
  CHECK(fit.set_aside == 3u * 9u);  // three of 27 shapes, nine sizes each
  REQUIRE(fit.out_of_grid_usual);
  CHECK(fit.out_of_grid_usual->n == fit.out_of_grid->n - 3u * 9u);
  CHECK(fit.out_of_grid_usual->mape < fit.out_of_grid->mape);
  const FittedKernels fitted(result.profile, {"law", ""});
  for (const Measurement& row : table.rows) {
    CHECK(fitted.predict(0, row.kernel, h200).time / row.time == Approx(1.0).margin(0.25));
  }
  // A shape between the measured ones is taken to be tuned.
  auto between = std::get<Experts>(table.rows[0].kernel);
  between.hidden = 2560;
  between.intermediate = 768;
  const Duration law = seconds(20e-6) + 1.5 * fit_query(between, h200).expected;
  CHECK(fitted.predict(0, between, h200).time / law == Approx(1.0).margin(0.25));
}

TEST_CASE("far outside what was measured the law still holds, and the way there has no steps") {
  // Every factor of the law's rows lies between 1 and 1.5 of floor + light; the bounds close on the usual ones of them.
  const Calibration result = calibrate({lawful({512, 1024, 2048, 4096, 8192})}, "h200-sxm", quick(), TaskPool(1));
  const FittedKernels fitted(result.profile, {"law", ""});
  const Accelerator h200 = find_accelerator("h200-sxm", {});
  RandomStream random(7, "outside");
  for (int i = 0; i < 200; ++i) {
    const auto size = [&](double least, double most) {
      return static_cast<std::int64_t>(std::exp2(least + (most - least) * random.uniform()));
    };
    const Gemm gemm{.m = size(0, 22), .n = size(4, 19), .k = size(4, 19)};
    const Duration law = seconds(4e-6) + 1.5 * fit_query(gemm, h200).light();
    CAPTURE(gemm.m, gemm.n, gemm.k);
    const double ratio = fitted.predict(0, gemm, h200).time / law;
    CHECK(ratio > 0.6);
    CHECK(ratio < 1.7);
  }
  // From the border on, a percent more of a width never changes the time by more than a few percent.
  Duration last = fitted.predict(0, Gemm{.m = 16384, .n = 8192, .k = 8192}, h200).time;
  for (double n = 8192.0 * 1.01; n < 8.0 * 8192.0; n *= 1.01) {
    const auto width = static_cast<std::int64_t>(n);
    const Duration time = fitted.predict(0, Gemm{.m = 16384, .n = width, .k = 8192}, h200).time;
    CHECK(time / last == Approx(1.01).margin(0.05));
    last = time;
  }
}

TEST_CASE("what a profile has no fit for, its base has: another type, another layout, another profile") {
  const KernelProfile sglang = load_kernel_profile(ProfileName{"h200-sglang"}, {"test", ""});
  const KernelProfile trtllm = load_kernel_profile(ProfileName{"h200-trtllm"}, {"test", ""});
  const Accelerator h200 = find_accelerator("h200-sxm", {});
  const auto by_sglang = make_cost_model(sglang, h200);
  const auto by_trtllm = make_cost_model(trtllm, h200);
  const Gemm gemm{.m = 256, .n = 4096, .k = 7168};
  CHECK(by_sglang->cost(gemm).time == by_trtllm->cost(gemm).time);
  CHECK(sglang.choose(gemm)->from->profile().name == "h200-trtllm");
  // Heads' projections in blocks of fp8 by the fit of fp8.
  const Gemm heads{.m = 128, .n = 512, .k = 128, .batch = 128, .weight = DataType::kFp8Block};
  CHECK(trtllm.choose(heads)->from->profile().fits[trtllm.choose(heads)->choice.fit].type == DataType::kFp8);
  // Masked experts where none were measured: 8 experts with 32 rows each stem from 8·32·256/(8·8) tokens.
  Experts masked{.rows = std::vector<std::int64_t>(8, 32),
                 .tokens = 200,
                 .experts = 256,
                 .experts_per_token = 8,
                 .hidden = 7168,
                 .intermediate = 2048,
                 .weight = DataType::kFp8Block,
                 .layout = ExpertLayout::kMasked};
  Experts same = masked;
  same.layout = ExpertLayout::kSorted;
  same.tokens = 1024;
  CHECK(by_trtllm->cost(masked).time == by_trtllm->cost(same).time);
  CHECK(family_of(sglang.choose(masked)->choice.kernel).first == FitFamily::kMaskedExperts);
}

// vLLM's table of DeepSeek-V3's experts has FlashInfer's kernels for 32 of 256 whole experts on each of eight ranks,
// and Triton's for an eighth of all 256.
TEST_CASE("of several implementations of experts the one is taken that was measured with such a spread over ranks") {
  const KernelProfile vllm = load_kernel_profile(ProfileName{"h200-vllm"}, {});
  const auto chosen = [&](std::int64_t local, std::int64_t intermediate, std::string_view variant = {}) {
    Experts experts{.rows = std::vector<std::int64_t>(static_cast<std::size_t>(local), 1),
                    .tokens = 32,
                    .experts = 256,
                    .experts_per_token = 8,
                    .hidden = 7168,
                    .intermediate = intermediate,
                    .weight = DataType::kFp8Block};
    const auto choice = vllm.choose(experts, variant);
    return choice->from->profile().fits[choice->choice.fit].variant;
  };
  CHECK(chosen(32, 2048) == "vllm_fp8moe_flashinfer_cutlass_flashinferexperts fp8_block");
  CHECK(chosen(256, 256) == "vllm_fp8moe_triton_tritonexperts fp8_block");
  CHECK(chosen(32, 2048, "vllm_fp8moe_triton_tritonexperts fp8_block") == "vllm_fp8moe_triton_tritonexperts fp8_block");
}

TEST_CASE("the nearest profile is the framework's on the GPU, else on the one whose units draw as much from memory") {
  CHECK(nearest_profile("h100-sxm", "sglang") == "h100-sglang");
  // GB/s for each unit: A100 80 GB 2039 / 108 = 19, H100 3350 / 132 = 25, H200 4800 / 132 = 36, B200 7700 / 148 = 52.
  CHECK(nearest_profile("a100-sxm-80gb", "trtllm") == "h100-trtllm");
  CHECK(nearest_profile("b200-sxm", "vllm") == "h200-vllm");
  CHECK(nearest_profile("", "vllm") == "h100-vllm");
}

TEST_CASE("4-bit weights that only our GPU multiplies as they are take the utilisation of 8-bit ones") {
  const KernelProfile trtllm = load_kernel_profile(ProfileName{"h200-trtllm"}, {"test", ""});
  const Accelerator h200 = find_accelerator("h200-sxm", {});
  const Accelerator b200 = find_accelerator("b200-sxm", {});
  const auto type_on = [&](const Accelerator& gpu, DataType weight) -> std::optional<DataType> {
    const auto found = trtllm.choose_on(gpu, Experts{.weight = weight});
    return found ? std::optional(found->from->profile().fits[found->choice.fit].type) : std::nullopt;
  };
  CHECK(type_on(h200, DataType::kMxFp4) == DataType::kMxFp4);  // expanded, as it was measured
  CHECK(type_on(b200, DataType::kMxFp4) == DataType::kFp8);
  CHECK(type_on(b200, DataType::kNvFp4) == DataType::kFp8);
  CHECK(type_on(h200, DataType::kNvFp4) == std::nullopt);
  CHECK(type_on(b200, DataType::kBf16) == DataType::kBf16);
  // A product bound by memory by far: equal utilisation is times as the bytes of the weights, .5625 B to 1 B, as far as
  // fixed parts and activations let it.
  const auto costs = make_cost_model(trtllm, b200);
  Gemm gemm{.m = 8, .n = 16384, .k = 16384, .weight = DataType::kFp8Block};
  const KernelCost wide = costs->cost(gemm);
  gemm.weight = DataType::kNvFp4;
  const KernelCost narrow = costs->cost(gemm);
  CHECK(narrow.busy / wide.busy == Approx(0.5625).margin(0.03));
  CHECK(narrow.confidence == Confidence::kExtrapolated);
  const auto remarks = costs->warnings(gemm);
  CHECK(std::count(
            remarks.begin(), remarks.end(),
            "H200 SXM was not measured multiplying nvfp4: the utilisation of its kernels in fp8-block is taken") == 1);
}

TEST_CASE("kernels that were measured far below full speed are remarked on, others are not") {
  // SGLang's Triton kernel was not tuned to whole experts of Mixtral's width in bf16 on H100: 1024 tokens on half of
  // the experts took 3.07 ms, where 256 rows for each of four take 2·1024·3·4096·14336 FLOP / 989 TFLOP/s = 0.36 ms.
  const auto remarks = [](const char* profile) {
    const auto model =
        make_cost_model(load_kernel_profile(ProfileName{profile}, {"test", ""}), find_accelerator("h100-sxm", {}));
    const Experts experts{.rows = std::vector<std::int64_t>(4, 256),
                          .tokens = 1024,
                          .experts = 8,
                          .experts_per_token = 2,
                          .hidden = 4096,
                          .intermediate = 14336};
    const std::vector<std::string> warnings = model->warnings(experts);
    return std::count_if(warnings.begin(), warnings.end(), [](const std::string& warning) {
      return warning.find("take more than 4 times what their bytes") != std::string::npos;
    });
  };
  CHECK(remarks("h100-sglang") == 1);
  CHECK(remarks("h100-trtllm") == 0);
}

TEST_CASE("experts behind DeepEP at the sizes of large deployments stay near their speed of light") {
  // Eight experts of DeepSeek-V3 in blocks of fp8 are 8·44 MB: 73 µs at 4.8 TB/s; two thirds of that rate were measured
  // on 32 ranks with 16 to 128 rows each. 4096 rows each are 32768·88 MFLOP: 1.46 ms at 1979 TFLOP/s, half of that
  // rate is reached, and tokens are moved in and out besides.
  const KernelProfile profile = load_kernel_profile(ProfileName{"h200-sglang"}, {"test", ""});
  const auto costs = make_cost_model(profile, find_accelerator("h200-sxm", {}));
  Experts experts{.rows = std::vector<std::int64_t>(8, 64),
                  .tokens = 400,
                  .experts = 256,
                  .experts_per_token = 8,
                  .hidden = 7168,
                  .intermediate = 2048,
                  .weight = DataType::kFp8Block,
                  .layout = ExpertLayout::kMasked};
  CHECK(costs->cost(experts).time.base() == Approx(112e-6).epsilon(0.15));
  experts.layout = ExpertLayout::kContiguous;
  experts.rows.assign(8, 4096);
  experts.tokens = 29000;
  CHECK(costs->cost(experts).time.base() == Approx(2.8e-3).epsilon(0.25));
}

TEST_CASE("a profile survives its file, and one of another version is refused") {
  Calibration result = calibrate({lawful({512, 1024, 2048})}, "h200-sxm", quick(), TaskPool(1));
  const Json json = Codec<FittedProfile>::encode(result.profile);
  const auto path = moesim::test::scratch_path("moesim_fit_profile.json");
  write_file(path, json.dump());
  const KernelProfile loaded = load_kernel_profile(ProfileFile{{path.string(), path}}, {"test", ""});
  REQUIRE(loaded.fitted);
  const FittedKernels direct(result.profile, {"test", ""});
  for (const std::int64_t m : {1, 100, 5000}) {
    const Gemm gemm{.m = m, .n = 1024, .k = 512};
    CHECK(loaded.fitted->predict(0, gemm, direct.accelerator()).time ==
          direct.predict(0, gemm, direct.accelerator()).time);
  }

  Json other = json;
  other["schema"] = "moesim.fitted-profile/2";
  write_file(path, other.dump());
  CHECK_THROWS_WITH(
      load_kernel_profile(ProfileFile{{path.string(), path}}, {"test", ""}),
      Catch::EndsWith("#/schema: expected \"moesim.fitted-profile/1\", found \"moesim.fitted-profile/2\""));
  result.profile.fits[0].law = 2;
  CHECK_THROWS_WITH(FittedKernels(result.profile, Place{"mine.json", ""}),
                    "mine.json#/fits/0/law: expected 1, found 2: the profile was fitted by another version; fit it "
                    "again with moesim calibrate");
  result.profile.fits[0].law.reset();
  result.profile.fits[0].features[0] = "rows";
  CHECK_THROWS_WITH(FittedKernels(result.profile, Place{"mine.json", ""}),
                    "mine.json#/fits/0/features: expected the 16 features of gemm that this version knows, found "
                    "others: the profile was fitted by another version; fit it again with moesim calibrate");
}

TEST_CASE("too little to fit is refused, saying what is missing") {
  CHECK_THROWS_WITH(calibrate({lawful({4096})}, "h200-sxm", quick(), TaskPool(1)),
                    "lawful.csv: expected at least 40 rows of gemm in bf16 (law), found 15: measure more sizes");
  MeasurementTable one_shape = lawful({4096});
  const MeasurementTable again = one_shape;
  for (int i = 0; i < 3; ++i) {
    one_shape.rows.insert(one_shape.rows.end(), again.rows.begin(), again.rows.end());
  }
  CHECK_THROWS_WITH(calibrate({one_shape}, "h200-sxm", quick(), TaskPool(1)),
                    "lawful.csv: expected at least 3 shapes of gemm in bf16 (law), found one: measure others, or the "
                    "error at unseen shapes stays unknown");
  CHECK_THROWS_WITH(calibrate({MeasurementTable{.file = "empty.csv"}}, "h200-sxm", quick(), TaskPool(1)),
                    "empty.csv: expected measured kernels, found none that can be fitted");
}

}  // namespace
}  // namespace moesim
