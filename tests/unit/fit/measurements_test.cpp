#include "validate/fit/measurements.hpp"

#include <zlib.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "tests/scratch.hpp"
#include "validate/fit/validate.hpp"

namespace moesim {
namespace {

const std::string kGemmHeader = "framework,version,device,op_name,kernel_source,gemm_dtype,m,n,k,latency\n";
const std::string kGemmRow = "TRTLLM,1.0,NVIDIA H200,gemm,cublas,bfloat16,64,4096,7168,0.02\n";

std::string written(const std::string& text) {
  const auto path = moesim::test::scratch_path("moesim_fit_table.csv");
  write_file(path, text);
  return path.string();
}
MeasurementTable read(const std::string& text) {
  return read_measurements(written(text), TableFormat::kAiconfigurator);
}
std::string faults_of(const std::string& text) {
  try {
    const MeasurementTable table = read(text);
    check_units(table, find_accelerator("h200-sxm", {}));
  } catch (const ConfigError& error) {
    std::string all;
    for (const Diagnostic& diagnostic : error.diagnostics()) {
      const std::string line = diagnostic.text();
      all += (all.empty() ? "" : "\n") + line.substr(line.find("table.csv"));
    }
    return all;
  }
  return "none";
}

TEST_CASE("a row becomes a kernel, its latency milliseconds") {
  const MeasurementTable table = read(kGemmHeader + kGemmRow);
  REQUIRE(table.rows.size() == 1);
  const auto& gemm = std::get<Gemm>(table.rows[0].kernel);
  CHECK(gemm.m == 64);
  CHECK(gemm.n == 4096);
  CHECK(gemm.k == 7168);
  CHECK(gemm.weight == DataType::kBf16);
  CHECK(table.rows[0].time.base() == Approx(20e-6));
  CHECK(table.rows[0].op == "gemm");
  CHECK(table.device == "NVIDIA H200");
  CHECK(table.framework == "TRTLLM");
}

TEST_CASE("experts behind DeepEP: what uniform routing gives each, by layout") {
  const std::string header =
      "framework,version,device,op_name,kernel_source,moe_dtype,num_tokens,hidden_size,inter_size,topk,num_experts,"
      "moe_tp_size,moe_ep_size,distribution,latency\n";
  const auto row = [](const std::string& op, int tokens, int ranks) {
    return "SGLang,1,NVIDIA H200," + op + ",deepepmoe,fp8_block," + std::to_string(tokens) + ",7168,2048,8,256,1," +
           std::to_string(ranks) + ",uniform,0.5\n";
  };
  const MeasurementTable table =
      read(header + row("moe_context", 8192, 8) + row("moe_context", 128, 8) + row("moe_context", 1024, 4) +
           row("moe_generation", 512, 8) + row("moe_generation", 16, 4));
  REQUIRE(table.rows.size() == 5);
  const auto experts = [&](std::size_t i) { return std::get<Experts>(table.rows[i].kernel); };
  // 8192 tokens, 8 of 256 experts each: 256 rows for each of the 32 local ones, whole blocks of 128.
  CHECK(experts(0).layout == ExpertLayout::kContiguous);
  CHECK(experts(0).rows == std::vector<std::int64_t>(32, 256));
  // 128 tokens: 4 rows for each of 32 experts fill one block, which one expert computes.
  std::vector<std::int64_t> one(32, 0);
  one[0] = 128;
  CHECK(experts(1).rows == one);
  // 1024 tokens: 32 rows for each of 64 experts fill 16 blocks.
  std::vector<std::int64_t> sixteen(64, 0);
  std::fill_n(sixteen.begin(), 16, 128);
  CHECK(experts(2).rows == sixteen);
  // A buffer for each expert needs no blocks: 512·8/256 rows.
  CHECK(experts(3).layout == ExpertLayout::kMasked);
  CHECK(experts(3).rows == std::vector<std::int64_t>(32, 16));
  // 16 tokens are half a row for each expert: 16·8/4 of the 64 local ones get one.
  std::vector<std::int64_t> half(64, 0);
  std::fill_n(half.begin(), 32, 1);
  CHECK(experts(4).rows == half);
  CHECK(table.rows[0].shape != table.rows[2].shape);  // other ranks are another shape
}

TEST_CASE("SGLang's prompts attend to the latent, which is another kernel") {
  const std::string header =
      "framework,version,device,op_name,kernel_source,mla_dtype,kv_cache_dtype,num_heads,batch_size,isl,tp_size,step,"
      "latency\n";
  const MeasurementTable table = read(header +
                                      "SGLang,1,NVIDIA H200,mla_context,flash_attention,bfloat16,bfloat16,64,2,1024,1,"
                                      "0,0.34\nTRTLLM,1,NVIDIA H200,mla_context,default,bfloat16,bfloat16,64,2,1024,1,"
                                      "0,0.14\n");
  REQUIRE(table.rows.size() == 2);
  CHECK(family_of(table.rows[0].kernel).first == FitFamily::kAbsorbedContextAttention);
  CHECK(family_of(table.rows[1].kernel).first == FitFamily::kLatentContextAttention);
  // Work is in proportion to the widths: (576 + 512) / (192 + 128).
  const Flops absorbed = demand_of(std::get<ContextAttention>(table.rows[0].kernel)).work;
  const Flops expanded = demand_of(std::get<ContextAttention>(table.rows[1].kernel)).work;
  CHECK(absorbed / expanded == Approx(1088.0 / 320.0));
}

TEST_CASE("gzipped tables read as plain ones, damaged ones are refused") {
  const std::string path = moesim::test::scratch_path("moesim_fit_table.csv.gz").string();
  const std::string text = kGemmHeader + kGemmRow;
  gzFile file = gzopen(path.c_str(), "wb");
  REQUIRE(gzwrite(file, text.data(), static_cast<unsigned>(text.size())) == static_cast<int>(text.size()));
  gzclose(file);
  CHECK(read_measurements(path, TableFormat::kAiconfigurator).rows.size() == 1);
  const std::string whole = read_file(path);
  write_file(path, whole.substr(0, whole.size() / 2));
  CHECK_THROWS_WITH(read_measurements(path, TableFormat::kAiconfigurator),
                    Catch::EndsWith("expected a whole gzip file, found one that is damaged or cut off"));
}

TEST_CASE("files that only point to a table, or hold it in another form, are named for what they are") {
  CHECK_THAT(faults_of("version https://git-lfs.github.com/spec/v1\noid sha256:96\nsize 9743072\n"),
             Catch::StartsWith("table.csv: expected a table, found a pointer of Git LFS to one"));
  CHECK_THAT(faults_of("{\"schema\": \"moesim.measurement/1\"}"),
             Catch::EndsWith("our own measurements are read with --table-format moesim"));
  CHECK_THAT(faults_of("PAR1\x15\x04"), Catch::StartsWith("table.csv: expected CSV, found Parquet"));
}

TEST_CASE("our own measurements name their units") {
  const auto path = moesim::test::scratch_path("moesim_fit_own.json");
  write_file(path, R"({"schema": "moesim.measurement/1", "gpu": "NVIDIA H200", "rows": [
    {"op_name": "gemm", "gemm_dtype": "fp8", "m": 1, "n": 4096, "k": 7168, "latency": "12 us"}]})");
  const MeasurementTable table = read_measurements(path, TableFormat::kMoesim);
  REQUIRE(table.rows.size() == 1);
  CHECK(table.rows[0].time.base() == Approx(12e-6));
  CHECK(device_of(table, "")->accelerator == "h200-sxm");
  CHECK(device_of(table, "NVIDIA H100 80GB HBM3")->accelerator == "h100-sxm");
  CHECK_THROWS_AS(device_of(table, "h2000"), ConfigError);  // another chip, not an H200
}

TEST_CASE("4-bit types go by the operands that they are multiplied with, others are said to be unknown") {
  const std::string header =
      "op_name,kernel_source,moe_dtype,num_tokens,hidden_size,inter_size,topk,num_experts,moe_tp_size,moe_ep_size,"
      "distribution,latency\n";
  const auto row = [](const std::string& type) { return "moe,x," + type + ",64,2880,2880,4,128,1,1,balanced,0.1\n"; };
  const MeasurementTable table =
      read(header + row("w4a8_mxfp4_mxfp8") + row("w4a16_mxfp4") + row("nvfp4") + row("int4_wo") + row("w4afp8"));
  REQUIRE(table.rows.size() == 4);
  std::vector<DataType> types;
  std::vector<std::string> variants;
  for (const Measurement& m : table.rows) {
    types.push_back(family_of(m.kernel).second);
    variants.push_back(m.variant);
  }
  CHECK(types == std::vector{DataType::kMxFp4, DataType::kMxFp4, DataType::kNvFp4, DataType::kInt4});
  CHECK(variants[0] != variants[1]);  // one type, two implementations: each has a fit of its own
  REQUIRE(table.warnings.size() == 1);
  CHECK_THAT(table.warnings[0], Catch::EndsWith("1 rows of type w4afp8 skipped: no kernel model is fitted to them"));
}

TEST_CASE("rows of unknown operators are counted, not guessed") {
  const MeasurementTable table =
      read(kGemmHeader + kGemmRow + "TRTLLM,1.0,NVIDIA H200,conv,cublas,bfloat16,64,4096,7168,0.02\n" +
           "TRTLLM,1.0,NVIDIA H200,conv,cublas,bfloat16,65,4096,7168,0.02\n");
  CHECK(table.rows.size() == 1);
  CHECK(table.skipped == 2);
  REQUIRE(table.warnings.size() == 1);
  CHECK(table.warnings[0].ends_with("table.csv: 2 rows of conv skipped: no kernel model is fitted to them"));
}

TEST_CASE("faults of a table, with their lines") {
  CHECK(faults_of(kGemmHeader + kGemmRow) == "none");
  CHECK(faults_of("op_name,gemm_dtype,m,n,latency\ngemm,bfloat16,64,4096,0.02\n") ==
        "table.csv: expected a column \"k\", found none; known: op_name, gemm_dtype, m, n, latency");
  CHECK(faults_of("op_name,gemm_dtype,m,n,k,latency\ngemm,bfloat16,64,4096,7168,-0.5\n"
                  "gemm,bfloat16,64,4096,7168,0\n") ==
        "table.csv:2: expected a latency above zero, found -0.5\n"
        "table.csv:3: expected a latency above zero, found 0");
  CHECK(faults_of("op_name,gemm_dtype,m,n,k,latency\ngemm,bfloat16,64,4096,7168\n") ==
        "table.csv:2: expected 6 cells as in the header, found 5");
  CHECK(faults_of("op_name,gemm_dtype,m,n,k,latency\ngemm,bfloat16,6.5,4096,7168,1\n") ==
        "table.csv:2: expected a whole number of at least 1 as m, found \"6.5\"");
  CHECK(faults_of("op_name,gemm_dtype,m,n,k,latency,latency_us\ngemm,bfloat16,64,4096,7168,0.02,20\n") ==
        "table.csv: expected one column of latencies, found several in different units: latency, latency_us");
  // 2·4096³ FLOP at 989 TFLOP/s take 139 µs: 0.2 ms is fair, the same in seconds or microseconds is not.
  CHECK(faults_of("op_name,gemm_dtype,m,n,k,latency\ngemm,bfloat16,4096,4096,4096,0.2\n"
                  "gemm,bfloat16,4096,4096,4096,0.0002\ngemm,bfloat16,4096,4096,4096,2000000\n") ==
        "table.csv:3: expected a latency in the table's unit, found 200 ns where H200 SXM at its peaks needs 139 us\n"
        "table.csv:4: expected a latency in the table's unit, found 2000 s where H200 SXM at its peaks needs 139 us");
  // One row in microseconds among three in milliseconds: a thousand times 142 us is within what a slow kernel may take.
  CHECK(faults_of("op_name,gemm_dtype,m,n,k,latency\ngemm,bfloat16,4096,4096,4096,0.2\n"
                  "gemm,bfloat16,4096,4096,4096,200\ngemm,bfloat16,4096,4096,4096,0.2\n") ==
        "table.csv:3: expected a latency in the unit of the others, found 200 ms: against the time at peak rates 1000 "
        "times longer than theirs");
}

}  // namespace
}  // namespace moesim
