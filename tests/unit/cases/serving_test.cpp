#include "validate/cases/serving.hpp"

#include <catch2/catch.hpp>
#include <filesystem>

#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "sim/scenario/run.hpp"
#include "tests/scratch.hpp"

using namespace moesim;

namespace {

constexpr const char* kHeader =
    "id,backend,model_path,system,precision,mode,isl,osl,batch_size,tp_size,pp_size,attention_dp_size,moe_tp_size,"
    "silicon_ttft_ms,silicon_tpot_ms\n";
constexpr const char* kDisaggregated =
    "id,backend,model_path,system,precision,mode,isl,osl,batch_size,tp_size,pp_size,attention_dp_size,moe_tp_size,"
    "decode_batch_size,decode_tp_size,decode_pp_size,decode_attention_dp_size,decode_moe_tp_size,silicon_ttft_ms,"
    "silicon_tpot_ms\n";
constexpr const char* kRun = "a,vllm,openai/gpt-oss-120b,h200_sxm,fp4,agg,1024,512,8,2,1,,2,90,6.5\n";

struct TemporaryTable {
  explicit TemporaryTable(const std::string& text) { write_file(path, text); }
  ~TemporaryTable() { std::filesystem::remove(path); }
  TemporaryTable(const TemporaryTable&) = delete;
  TemporaryTable& operator=(const TemporaryTable&) = delete;
  std::filesystem::path path = moesim::test::scratch_path("moesim-serving-runs.csv");
};

ServingTable read(const std::string& text) { return read_serving_table(TemporaryTable(text).path); }

std::string refusal(const std::string& text) {
  try {
    read(text);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("A serving run becomes a scenario laid out like the server") {
  const ServingTable table = read(std::string(kHeader) + kRun);
  REQUIRE(table.runs.size() == 1);
  std::string reason;
  const auto scenario = scenario_of(table.runs.front(), DecodeStep{8, 1280}, reason);
  REQUIRE(scenario);
  CHECK(scenario->parallelism.ranks == 2);
  CHECK(scenario->parallelism.tensor_parallel == 2);
  CHECK(scenario->parallelism.expert_parallel() == 1);
  CHECK(scenario->dispatch.protocol == DispatchProtocol::kAllReduce);
  CHECK(scenario->precision.expert_weights({}) == DataType::kMxFp4);
  CHECK(std::get<ProfileName>(scenario->kernels).value == "h200-vllm");
}

// 8 sequences of 512 tokens of output: while one is generated, 8 prompts come in, so that every token waits for 1/64 of
// a prompt's prefill beside its own step, at a context of 1024 + 256.
TEST_CASE("Time per output token is a decode step and its share of the prompts that come in") {
  const ServingValidation result = validate_serving(read(std::string(kHeader) + kRun), "", TaskPool(2));
  REQUIRE(result.predictions.size() == 1);
  const ServingPrediction& found = result.predictions.front();
  std::string reason;
  const TaskPool pool(1);
  const auto decode = run_step(*scenario_of(found.run, DecodeStep{8, 1280}, reason), {"", ""}, pool).execution.end;
  const auto prefill = run_step(*scenario_of(found.run, PrefillStep{1, 1024, 0}, reason), {"", ""}, pool).execution.end;
  CHECK(found.per_output_token.base() ==
        Approx(decode.duration().base() + prefill.duration().base() / 64.0).epsilon(1e-12));
  CHECK(found.error() == Approx(found.per_output_token.base() / 6.5e-3 - 1.0).epsilon(1e-12));
  REQUIRE(result.all);
  CHECK(result.all->bias == Approx(found.error()));
}

// A server of 2 GPUs with one sequence on each, whose prompts of 1024 tokens another has read: while it generates 512,
// nothing but decode steps happens on it, on average at a context of 1024 + 256.
TEST_CASE("A server for tokens alone takes a decode step for each") {
  const ServingTable table = read(std::string(kDisaggregated) +
                                  "a,trtllm,openai/gpt-oss-120b,h200_sxm,fp4,disagg,1024,512,,,,,,1,1,1,2,1,90,6.5\n");
  REQUIRE(table.runs.size() == 1);
  CHECK(table.runs.front().phases == ServerPhases::kDecode);
  CHECK(table.runs.front().sequences == 1);
  std::string reason;
  const auto scenario = scenario_of(table.runs.front(), DecodeStep{1, 1280}, reason);
  REQUIRE(scenario);
  CHECK(scenario->parallelism.ranks == 2);
  CHECK(scenario->parallelism.tensor_parallel == 1);
  CHECK(scenario->parallelism.expert_parallel() == 2);
  const ServingValidation result = validate_serving(table, "", TaskPool(1));
  REQUIRE(result.predictions.size() == 1);
  const ServingPrediction& found = result.predictions.front();
  const auto decode = run_step(*scenario, {"", ""}, TaskPool(1)).execution.end;
  CHECK(found.per_output_token.base() == decode.duration().base());
  CHECK(found.prefill == Duration{});
  CHECK_FALSE(result.all);
  REQUIRE(result.disaggregated);
  CHECK(result.disaggregated->bias == Approx(decode.duration().base() / 6.5e-3 - 1.0));
  REQUIRE(result.groups.size() == 1);
  CHECK(result.groups.front().phases == ServerPhases::kDecode);
}

TEST_CASE("Of decode servers the table must say how many sequences they ran, and how experts are split") {
  std::string text = kDisaggregated;
  text += "a,trtllm,openai/gpt-oss-120b,h200_sxm,fp4,disagg,1024,512,,,,,,,8,1,1,1,90,6.5\n";
  text += "b,trtllm,openai/gpt-oss-120b,h200_sxm,fp4,disagg,1024,512,,,,,,4,8,1,1,0,90,6.5\n";
  text += "c,trtllm,openai/gpt-oss-120b,h200_sxm,fp4,disagg,1024,512,,,,,,4,8,2,1,1,90,6.5\n";
  const ServingTable table = read(text);
  CHECK(table.runs.empty());
  REQUIRE(table.skipped.size() == 3);
  CHECK(table.skipped[0].kind ==
        "prompts and tokens on servers of their own, of which the table says neither how many there were nor how many "
        "sequences each ran");
  CHECK(table.skipped[1].kind == "over how many ranks an expert is split is not told");
  CHECK(table.skipped[2].kind == "pipeline parallelism");
}

TEST_CASE("Types of a run are those of the checkpoint that it names") {
  const auto types = [](const std::string& model, const std::string& precision) {
    ServingRun run;
    run.model = model;
    run.system = "h200_sxm";
    run.precision = precision;
    std::string reason;
    const auto scenario = scenario_of(run, DecodeStep{1, 1}, reason);
    REQUIRE(scenario);
    return scenario->precision;
  };
  const Precision kimi = types("moonshotai/Kimi-K2.5", "int4");
  CHECK(kimi.expert_weights({}) == DataType::kInt4);
  CHECK(kimi.matrix_weights({}) == DataType::kBf16);
  const Precision deepseek = types("deepseek-ai/DeepSeek-R1", "fp4");
  CHECK(deepseek.expert_weights({}) == DataType::kNvFp4);
  CHECK(deepseek.matrix_weights({}) == DataType::kNvFp4);
  CHECK(deepseek.attention_weights({}) == DataType::kBf16);
  CHECK(types("MiniMaxAI/MiniMax-M2.5", "fp8").attention_weights({}) == DataType::kFp8Block);
  CHECK(types("zhipuai/GLM-5", "fp4").attention_weights({}) == DataType::kBf16);
}

TEST_CASE("Caches are of the type that the published launch scripts ask for") {
  const auto cache = [](const char* backend, const char* model, const char* system, const char* precision) {
    ServingRun run;
    run.backend = backend;
    run.model = model;
    run.system = system;
    run.precision = precision;
    std::string reason;
    return scenario_of(run, DecodeStep{1, 1}, reason).value().precision.kv;
  };
  CHECK(cache("trtllm", "deepseek-ai/DeepSeek-R1", "h200_sxm", "fp8") == DataType::kFp8);
  CHECK(cache("sglang", "deepseek-ai/DeepSeek-R1", "h200_sxm", "fp8") == DataType::kBf16);
  CHECK(cache("sglang", "deepseek-ai/DeepSeek-R1", "b200_sxm", "fp4") == DataType::kFp8);
  CHECK(cache("sglang", "Qwen/Qwen3.5-397B-A17B", "b200_sxm", "bf16") == DataType::kBf16);
  CHECK(cache("trtllm", "openai/gpt-oss-120b", "h200_sxm", "fp4") == DataType::kBf16);
  CHECK(cache("vllm", "openai/gpt-oss-120b", "b200_sxm", "fp4") == DataType::kFp8);
  CHECK(cache("vllm", "MiniMaxAI/MiniMax-M2.5", "b200_sxm", "fp8") == DataType::kBf16);
}

TEST_CASE("Kernels are those of the server, or whose it runs by the published launch scripts") {
  const auto profile = [](const char* backend, const char* system, const char* precision) {
    ServingRun run;
    run.backend = backend;
    run.model = "Qwen/Qwen3.5-397B-A17B";
    run.system = system;
    run.precision = precision;
    std::string reason;
    return std::get<ProfileName>(scenario_of(run, DecodeStep{1, 1}, reason).value().kernels).value;
  };
  CHECK(profile("sglang", "h200_sxm", "fp8") == "h200-sglang");
  CHECK(profile("sglang", "b200_sxm", "fp8").ends_with("-vllm"));
  CHECK(profile("sglang", "b200_sxm", "bf16").ends_with("-trtllm"));
  CHECK(profile("vllm", "b200_sxm", "fp8").ends_with("-vllm"));
  CHECK(profile("vllm", "b200_sxm", "fp4").ends_with("-trtllm"));
}

TEST_CASE("Servers whose version is known to predict several tokens a step are left out") {
  const std::string header = "backend_version," + std::string(kHeader);
  const std::string rest = ",trtllm,deepseek-ai/DeepSeek-R1,b200_sxm,fp8,agg,1024,512,8,8,1,,8,90,6.5\n";
  const ServingTable table = read(header + "1.2.0rc6.post3,a" + rest + "1.2.0rc6.post2,b" + rest);
  REQUIRE(table.runs.size() == 1);
  CHECK(table.runs.front().id == "b");
  REQUIRE(table.skipped.size() == 1);
  CHECK(table.skipped.front().kind == "several tokens a step by multi-token prediction");
}

TEST_CASE("Runs that are no single server, or of unknown models, are left out with the reason") {
  std::string text = kHeader;
  text += "b,vllm,openai/gpt-oss-120b,h200_sxm,fp4,disagg,1024,512,,,,,,90,6.5\n";
  text += "c,vllm,openai/gpt-oss-120b,h200_sxm,fp4,agg,1024,512,8,2,2,,2,90,6.5\n";
  text += "d,vllm,nobody/unheard-of,h200_sxm,fp4,agg,1024,512,8,2,1,,2,90,6.5\n";
  // 3.4 s to the first token, 512 × 6.5 ms = 3.328 s for the others.
  text += "e,vllm,openai/gpt-oss-120b,h200_sxm,fp4,agg,1024,512,8,2,1,,2,3400,6.5\n";
  const ServingValidation result = validate_serving(read(text), "", TaskPool(1));
  CHECK(result.predictions.empty());
  CHECK_FALSE(result.all);
  REQUIRE(result.skipped.size() == 4);
  CHECK(result.skipped[0].id == "b");
  CHECK(result.skipped[1].kind == "pipeline parallelism");
  CHECK(result.skipped[2].id == "e");
  CHECK(result.skipped[3].kind == "nobody/unheard-of is in no catalogue");
}

TEST_CASE("Tables that cannot be meant are refused with their place") {
  std::string zero = std::string(kHeader) + kRun;
  zero.replace(zero.rfind("6.5"), 3, "0.0");
  CHECK(refusal(zero).find("moesim-serving-runs.csv:2") != std::string::npos);
  CHECK(refusal(zero).find("expected a number above 0 in column \"silicon_tpot_ms\", found \"0.0\"") !=
        std::string::npos);
  std::string renamed = std::string(kHeader) + kRun;
  renamed.replace(renamed.find("batch_size"), 10, "batch_sise");
  CHECK(refusal(renamed).find("expected a column \"batch_size\", found none") != std::string::npos);
}
