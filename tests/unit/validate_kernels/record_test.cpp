// What the program writes is what the calibration reads.
#include "validate/kernels/record.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <map>
#include <set>
#include <tuple>

#include "models/kernels/fitted.hpp"
#include "sim/config/codec.hpp"
#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "tests/scratch.hpp"
#include "validate/fit/calibrate.hpp"
#include "validate/fit/measurements.hpp"
#include "validate/fit/validate.hpp"
#include "validate/kernels/plan.hpp"

namespace moesim::bench {
namespace {

Timing timing_of(double seconds) {
  Timing timing;
  timing.seconds = {.median = seconds, .least = 0.9 * seconds, .spread = 0.01, .deviation = 0.002};
  timing.samples = 12;
  timing.launches_each = 40;
  timing.stopped = Stop::kSettled;
  return timing;
}

const LayerShape kLayer{"small", 512, 256, 16, 4, RouterScore::kSoftmax, 1, 1};

Record record_of_all() {
  Record record;
  record.gpu = "NVIDIA H200";
  record.version = "abc";
  record.environment.set("date", "2026-01-01T00:00:00Z").set("note", "a \"quoted\"\nline");
  record.add({GemmCase{NumberType::kBf16, 64, 4096, 7168}, timing_of(20e-6)});
  record.add({GemmCase{NumberType::kFp8Block, 64, 4096, 7168}, timing_of(15e-6)});
  record.add(
      {ExpertsCase{.layer = kLayer, .type = NumberType::kFp8Block, .tokens = 32, .expert_parallel = 4, .exponent = 1.2},
       timing_of(40e-6)});
  record.add({ExpertsCase{.layer = kLayer,
                          .tokens = 32,
                          .expert_parallel = 4,
                          .rows = {7, 0, 30, 1},
                          .replayed_layer = 5,
                          .replayed_rank = 2},
              timing_of(50e-6)});
  record.add({DecodeCase{16, 4096, 64, 8, 128}, timing_of(60e-6)});
  record.add({LatentDecodeCase{8, 1024, 128}, timing_of(70e-6)});
  record.add({PrefillCase{2, 1024, 32, 8, 128}, timing_of(80e-6)});
  record.add({PrefillCase{2, 1024, 16, 16, 192}, timing_of(90e-6)});
  record.add({HbmCase{HbmCase::Access::kCopy, 1 << 20}, timing_of(1e-6)});
  Json extra = Json::object();
  extra.set("slowdown", 1.5).set("work_gbps_alone", 900.0).set("rival_gbps", 600.0);
  record.add({ContentionCase{ContentionCase::Work::kDecodeExperts, ContentionCase::Rival::kStream, 20}, timing_of(1e-3),
              extra, "contention/one"});
  record.skipped.push(std::move(Json::object().set("case", "a/b").set("reason", "too large")));
  return record;
}

TEST_CASE("a file of measurements reads as the kernels that were measured") {
  const auto folder = moesim::test::scratch_path("moesim_record_test");
  const auto path = folder / "all.json";
  record_of_all().save(path.string());
  CHECK_FALSE(std::filesystem::exists(path.string() + ".part"));
  const MeasurementTable table = read_measurements(path, TableFormat::kMoesim);
  const std::vector<std::string> ids = cases_in(read_file(path));
  CHECK(ids.size() == 11);
  CHECK(ids.front() == "a/b");
  CHECK(ids.back() == "contention/one");
  std::filesystem::remove_all(folder);
  CHECK(table.device == "NVIDIA H200");
  CHECK(table.framework == "moesim");
  CHECK(table.version == "abc");
  CHECK(table.skipped == 0);
  REQUIRE(table.contention.size() == 1);
  CHECK(table.contention[0].bound == Bound::kMemory);
  CHECK(table.contention[0].units == 20);
  CHECK(table.contention[0].work_rate == 900e9);
  CHECK(table.contention[0].rival_rate == 600e9);
  CHECK(table.contention[0].slowdown == 1.5);
  REQUIRE(table.rows.size() == 9);

  const auto& copy = std::get<Streaming>(table.rows[8].kernel);
  CHECK(copy.read.base() == 1 << 20);
  CHECK(copy.written.base() == 1 << 20);

  const auto& gemm = std::get<Gemm>(table.rows[0].kernel);
  CHECK(gemm.m == 64);
  CHECK(gemm.n == 4096);
  CHECK(gemm.k == 7168);
  CHECK(gemm.weight == DataType::kBf16);
  CHECK(table.rows[0].time.base() == Approx(20e-6));
  CHECK(std::get<Gemm>(table.rows[1].kernel).weight == DataType::kFp8Block);

  const auto& drawn = std::get<Experts>(table.rows[2].kernel);
  const ExpertsCase measured{.layer = kLayer, .tokens = 32, .expert_parallel = 4, .exponent = 1.2};
  CHECK(drawn.rows == rows_of(measured));  // the rows that were run are the rows that are read
  CHECK(drawn.exponent == 1.2);
  CHECK(drawn.hidden == 512);
  CHECK(drawn.intermediate == 256);
  const auto& replayed = std::get<Experts>(table.rows[3].kernel);
  CHECK(replayed.rows == std::vector<std::int64_t>{7, 0, 30, 1});
  CHECK_FALSE(replayed.exponent.has_value());
  CHECK(table.rows[3].variant == "moesim_mma bfloat16");

  const auto& decode = std::get<GenerationAttention>(table.rows[4].kernel);
  CHECK(decode.keys == 4096);
  CHECK(decode.kv_heads == 8);
  CHECK(std::get<LatentGenerationAttention>(table.rows[5].kernel).heads == 128);
  const auto& prefill = std::get<ContextAttention>(table.rows[6].kernel);
  CHECK(prefill.query == 1024);
  CHECK(prefill.qk_head_dim == 128);
  CHECK(std::get<ContextAttention>(table.rows[7].kernel).qk_head_dim == 192);
  CHECK(table.rows[7].op == "mla_context");
}

TEST_CASE("parts of the layer are read with the traffic that the program counts for them") {
  using Part = LayerCase::Part;
  const LayerCase router{Part::kRouter, kLayer, 48};
  Record record;
  record.gpu = "NVIDIA H200";
  record.add({router, timing_of(1e-6)});
  std::vector<LayerCase> streaming;
  for (const Part part :
       {Part::kTopK, Part::kPermute, Part::kUnpermute, Part::kSwiGlu, Part::kSwiGluFp8, Part::kRmsNorm}) {
    streaming.push_back({part, kLayer, 48});
    record.add({streaming.back(), timing_of(2e-6)});
  }
  const auto path = moesim::test::scratch_path("moesim_record_parts.json");
  record.save(path.string());
  const MeasurementTable table = read_measurements(path, TableFormat::kMoesim);
  std::filesystem::remove(path);
  CHECK(table.skipped == 0);
  REQUIRE(table.rows.size() == 1 + streaming.size());
  const auto& gates = std::get<Gemm>(table.rows[0].kernel);
  CHECK(std::tuple(gates.m, gates.n, gates.k) == std::tuple(48, 16, 512));
  CHECK(table.rows[0].variant == "router");  // not to be taken for a product alone
  for (std::size_t i = 0; i < streaming.size(); ++i) {
    INFO(name_of(streaming[i].part));
    const auto& part = std::get<Streaming>(table.rows[1 + i].kernel);
    CHECK((part.read + part.written).base() == Approx(needs_of(streaming[i]).bytes));
  }
  // 48 tokens of 512 in 16 bits, each with 4 choices of 8 B; a row for each choice.
  const auto& permute = std::get<Streaming>(table.rows[2].kernel);
  CHECK(permute.read.base() == 48 * 512 * 2 + 48 * 4 * 8);
  CHECK(permute.written.base() == 48 * 4 * 512 * 2);
}

/// What a GPU at 80 % of its peak rate or 70 % of its bandwidth would take, and 4 us.
Timing lawful_timing(const Shape& shape) {
  const Needs needs = needs_of(shape);
  return timing_of(4e-6 + std::max(needs.flops / 0.8 / 989e12, needs.bytes / 0.7 / 4.8e12));
}

/// What such a GPU says of a kernel beside another: all of the 132 SMs are needed where they hold a kernel back, 70 of
/// a hundred where the HBM does. A rival that streams takes 20 GB/s with each SM.
Json lawful_contention(const ContentionCase& c) {
  const bool memory =
      c.work == ContentionCase::Work::kDecodeExperts || c.work == ContentionCase::Work::kDecodeAttention;
  const double left = 1.0 - c.multiprocessors / 132.0;
  const double rival = c.rival == ContentionCase::Rival::kStream ? 20e9 * c.multiprocessors : 0.0;
  const double taken = memory ? 0.7 : 0.2;
  Json extra = Json::object();
  extra.set("slowdown", std::max({1.0, (memory ? 0.7 : 1.0) / left, taken / (1.0 - rival / 4.8e12)}))
      .set("work_gbps_alone", taken * 4.8e3);
  if (rival > 0.0) {
    extra.set("rival_gbps", rival * 1e-9);
  }
  return extra;
}

// The way of the first session on a GPU: measured, fitted, and held against a replay that the fit has not seen.
TEST_CASE("what the whole plan measures can be fitted, and predicts a replay") {
  constexpr std::size_t kOfGroup = 240;  // as many of each are enough
  Record measured;
  measured.gpu = "NVIDIA H200";
  std::map<Group, std::size_t> taken;
  for (const Case& one : plan()) {
    const bool experts = one.group == Group::kExperts;
    if (one.group == Group::kReplay || (experts && type_of(one.shape) != NumberType::kBf16) ||
        (experts && std::get<ExpertsCase>(one.shape).kernel != ExpertKernel::kOwn) || taken[one.group]++ >= kOfGroup) {
      continue;
    }
    const auto* contention = std::get_if<ContentionCase>(&one.shape);
    measured.add({one.shape, contention == nullptr ? lawful_timing(one.shape) : timing_of(1e-3),
                  contention == nullptr ? Json::object() : lawful_contention(*contention), one.id});
  }
  const auto path = moesim::test::scratch_path("moesim_plan.json");
  measured.save(path.string());
  const MeasurementTable table = read_measurements(path, TableFormat::kMoesim);
  check_units(table, find_accelerator("h200-sxm", {"test", ""}));

  CalibrationOptions options;
  options.folds = 2;
  options.boosting = {.trees = 60, .leaves = 12};
  const Calibration fitted = calibrate({table}, "h200-sxm", options, TaskPool(1));
  CHECK_FALSE(fitted.profile.has_whole_experts());
  std::set<FitFamily> families;
  for (const KernelFit& fit : fitted.profile.fits) {
    families.insert(fit.family);
    INFO(name_of(fit.family) << ' ' << fit.variant);
    REQUIRE(fit.in_grid);
    CHECK(fit.in_grid->median < 0.1);
  }
  CHECK(families == std::set{FitFamily::kGemm, FitFamily::kExperts, FitFamily::kContextAttention,
                             FitFamily::kGenerationAttention, FitFamily::kLatentContextAttention,
                             FitFamily::kLatentGenerationAttention, FitFamily::kStreaming});

  REQUIRE(fitted.profile.contention);
  CHECK(fitted.profile.contention->terms.compute_bound == 1.0);
  CHECK(fitted.profile.contention->terms.memory_bound == Approx(0.7).margin(0.001));
  CHECK(fitted.profile.contention->unseen_units->worst < 0.01);

  Record replay;
  replay.gpu = measured.gpu;
  for (const Case& one : generated_replay_plan({.layer = layer_shapes().front()}, 1)) {
    replay.add({one.shape, lawful_timing(one.shape), Json::object(), one.id});
  }
  replay.save(path.string());
  const auto profile_path = moesim::test::scratch_path("moesim_plan_profile.json");
  write_file(profile_path, Codec<FittedProfile>::encode(fitted.profile).dump());
  const KernelProfile profile = load_kernel_profile(ProfileFile{{profile_path.string(), profile_path}}, {"test", ""});
  const Validation valid =
      validate(read_measurements(path, TableFormat::kMoesim), profile, find_accelerator("h200-sxm", {"test", ""}));
  std::filesystem::remove(path);
  std::filesystem::remove(profile_path);
  CHECK(profile.communication.contention.memory_bound == fitted.profile.contention->terms.memory_bound);
  REQUIRE(valid.operators.size() == 1);
  CHECK(valid.operators[0].op == "moe");
  CHECK(valid.operators[0].errors.n > 40);
  CHECK(valid.operators[0].errors.median < 0.15);
}

TEST_CASE("rows of a replay are checked") {
  const auto path = moesim::test::scratch_path("moesim_record_rows.json");
  const auto fault = [&](const std::string& rows) -> std::string {
    write_file(path, R"({"schema": "moesim.measurement/1", "gpu": "NVIDIA H200", "rows": [
      {"op_name": "moe", "moe_dtype": "fp8", "num_tokens": 8, "topk": 2, "num_experts": 6, "moe_ep_size": 2,
       "moe_tp_size": 1, "hidden_size": 512, "inter_size": 256, "distribution": "recorded", "latency": "12 us",
       "expert_rows": ")" +
                         rows + R"("}]})");
    try {
      read_measurements(path, TableFormat::kMoesim);
    } catch (const ConfigError& error) {
      const std::string text = error.what();
      return text.substr(text.find(".json") + 5);
    }
    return "none";
  };
  CHECK(fault("1 0 16") == "none");
  const std::string expected =
      ":2: expected the rows of 3 experts as expert_rows, whole numbers with blanks between, found ";
  CHECK(fault("1 0") == expected + "\"1 0\"");
  CHECK(fault("1 0 17") == expected + "\"1 0 17\"");
  CHECK(fault("1 -1 3") == expected + "\"1 -1 3\"");
  CHECK(fault("1;0;3") == expected + "\"1;0;3\"");
}

TEST_CASE("kernels beside others are read where their own rate is told, and checked against the GPU") {
  const auto path = moesim::test::scratch_path("moesim_record_contention.json");
  const auto read = [&](const std::string& cells) {
    write_file(path, R"({"schema": "moesim.measurement/1", "gpu": "NVIDIA H200", "rows": [
      {"op_name": "contention", "work": "gemm", "latency": "12 us", "slowdown": 1.2, )" +
                         cells + "}]}");
    return read_measurements(path, TableFormat::kMoesim);
  };
  const auto fault = [&](const std::string& cells) -> std::string {
    try {
      check_units(read(cells), find_accelerator("h200-sxm", {"test", ""}));
    } catch (const ConfigError& error) {
      const std::string text = error.what();
      return text.substr(text.find(".json") + 5);
    }
    return "none";
  };
  CHECK(fault(R"("rival": "spin", "multiprocessors": 131, "work_gbps_alone": 700)") == "none");
  CHECK(fault(R"("rival": "spin", "multiprocessors": 132, "work_gbps_alone": 700)") ==
        ":2: expected fewer multiprocessors than the 132 of H200 SXM, found 132");
  CHECK(fault(R"("rival": "stream", "multiprocessors": 20, "work_gbps_alone": 700, "rival_gbps": 4800)") ==
        ":2: expected less than the 4.8 TB/s of H200 SXM, found 4.8 TB/s");
  CHECK(read(R"("rival": "spin", "multiprocessors": 20)").skipped == 1);
}

TEST_CASE("ceilings are the best that was seen, and rows are held against them") {
  Record record = record_of_all();
  CHECK(record.ceilings.bandwidth == Approx(2.0 * (1 << 20) / 1e-6));
  CHECK(record.ceilings.bf16_flops == Approx(2.0 * 64 * 4096 * 7168 / 20e-6));
  CHECK(record.ceilings.fp8_flops == Approx(2.0 * 64 * 4096 * 7168 / 15e-6));
  // 1 MFLOP at 1 TFLOP/s take 1 µs, 1 kB at 1 GB/s takes as long: the greater of both over 4 µs.
  const Ceilings ceilings{.bf16_flops = 1e12, .fp8_flops = 2e12, .bandwidth = 1e9};
  CHECK(share_of_ceiling({.flops = 1e6, .bytes = 2e3}, NumberType::kBf16, 4e-6, ceilings) == Approx(0.5));
  CHECK(share_of_ceiling({.flops = 1e6, .bytes = 1e2}, NumberType::kFp8, 4e-6, ceilings) == Approx(0.125));
  CHECK(share_of_ceiling({.flops = 1e6, .bytes = 1e2}, NumberType::kFp8, 4e-6, {}) == 0.0);
}

TEST_CASE("a record that cannot be written says so") {
  CHECK_THROWS_WITH(Record{}.save("/proc/nowhere/a.json"),
                    Catch::StartsWith("/proc/nowhere/a.json: cannot be written"));
}

TEST_CASE("JSON escapes what it must") {
  Json json = Json::object();
  json.set("text", "a\"b\\c\n").set("none", std::nan("")).set("whole", 3).set("half", 0.5);
  json.set("text", "replaced\t");
  CHECK(json.text() == "{\n \"text\": \"replaced\\u0009\",\n \"none\": null,\n \"whole\": 3,\n \"half\": 0.5}\n");
  CHECK(Json("a\"b\\c\n").text() == "\"a\\\"b\\\\c\\u000a\"\n");
}

}  // namespace
}  // namespace moesim::bench
