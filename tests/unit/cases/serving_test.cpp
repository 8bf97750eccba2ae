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

// 8 sequences of 512 tokens of output: while one is generated, 8 prompts come in. vLLM reads each in a step that also
// generates, which is longer than others by what 1024 + 8 tokens and the sequences' attention take together, at a
// context of 1024 + 256; every token waits for 8/512 of that beside its own step.
TEST_CASE("Time per output token is a decode step and its share of the prompts that are read beside tokens") {
  const ServingValidation result = validate_serving(read(std::string(kHeader) + kRun), "", TaskPool(2));
  REQUIRE(result.predictions.size() == 1);
  const ServingPrediction& found = result.predictions.front();
  std::string reason;
  const TaskPool pool(1);
  const Execution tokens = run_step(*scenario_of(found.run, DecodeStep{8, 1280}, reason), {"", ""}, pool).execution;
  const Execution prompt = run_step(*scenario_of(found.run, PrefillStep{1, 1032, 0}, reason), {"", ""}, pool).execution;
  double attention = 0.0;
  for (const Segment& segment : tokens.timeline.front()) {
    attention += segment.op == StepOperator::kAttention ? (segment.end - segment.begin).duration().base() : 0.0;
  }
  const double decode = tokens.end.duration().base();
  const double longer = prompt.end.duration().base() + attention - decode;
  REQUIRE(longer > 0.0);
  CHECK(attention > 0.0);
  CHECK(found.prefill.base() == Approx(longer).epsilon(1e-9));
  CHECK(found.per_output_token.base() == Approx(decode + longer / 64.0).epsilon(1e-9));
  CHECK(found.error() == Approx(found.per_output_token.base() / 6.5e-3 - 1.0).epsilon(1e-12));
  REQUIRE(result.all);
  CHECK(result.all->bias == Approx(found.error()));
}

// The same run by SGLang, whose steps either read or generate: each prompt of 1024 tokens takes a step of its own.
TEST_CASE("A server that does not mix prompts with tokens stops for each prompt") {
  std::string text = std::string(kHeader) + kRun;
  text.replace(text.rfind("vllm"), 4, "sglang");
  const ServingValidation result = validate_serving(read(text), "", TaskPool(2));
  REQUIRE(result.predictions.size() == 1);
  const ServingPrediction& found = result.predictions.front();
  std::string reason;
  const TaskPool pool(1);
  const auto decode = run_step(*scenario_of(found.run, DecodeStep{8, 1280}, reason), {"", ""}, pool).execution.end;
  const auto prefill = run_step(*scenario_of(found.run, PrefillStep{1, 1024, 0}, reason), {"", ""}, pool).execution.end;
  CHECK(found.prefill.base() == prefill.duration().base());
  CHECK(found.per_output_token.base() ==
        Approx(decode.duration().base() + prefill.duration().base() / 64.0).epsilon(1e-12));
}

// InferenceX asks for 0.8 to 1 of 1024 tokens each way: 0.9 on average, 921.6, and half of the output is 461.
TEST_CASE("Lengths of InferenceX's runs are those that its clients ask for on average") {
  const ServingTable table = read(std::string(kDisaggregated) +
                                  "a,trtllm,openai/gpt-oss-120b,h200_sxm,fp4,disagg,1024,1024,,,,,,1,1,1,2,1,90,6.5\n");
  const ServingValidation result = validate_serving(table, "", TaskPool(1));
  REQUIRE(result.predictions.size() == 1);
  const ServingPrediction& found = result.predictions.front();
  std::string reason;
  const auto mean = run_step(*scenario_of(found.run, DecodeStep{1, 922 + 461}, reason), {"", ""}, TaskPool(1));
  const auto nominal = run_step(*scenario_of(found.run, DecodeStep{1, 1024 + 512}, reason), {"", ""}, TaskPool(1));
  CHECK(found.decode.base() == mean.execution.end.duration().base());
  CHECK(found.decode < nominal.execution.end.duration());
}

TEST_CASE("DeepSeek's runs are routed as DeepSeek-V3 was recorded, prompts and tokens apart") {
  const auto routing = [](const char* model, const StepChoice& step) {
    ServingRun run;
    run.model = model;
    run.system = "h200_sxm";
    std::string reason;
    return scenario_of(run, step, reason).value().routing;
  };
  const auto recorded = [&](const StepChoice& step) {
    return std::get<GeneratorRouting>(routing("deepseek-ai/DeepSeek-R1", step)).name.value();
  };
  CHECK(recorded(DecodeStep{1, 1}) == "deepseek-v3-decode");
  CHECK(recorded(PrefillStep{1, 1, 0}) == "deepseek-v3-prefill");
  CHECK(std::get<PowerLawRouting>(routing("Qwen/Qwen3-235B-A22B-FP8", DecodeStep{1, 1})).tokens == 50);
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
  const auto profile = [](const char* backend, const char* system, const char* precision,
                          const char* model = "Qwen/Qwen3.5-397B-A17B", int expert_tensor_parallel = 1) {
    ServingRun run;
    run.backend = backend;
    run.model = model;
    run.system = system;
    run.precision = precision;
    run.tensor_parallel = run.expert_tensor_parallel = expert_tensor_parallel;
    std::string reason;
    return std::get<ProfileName>(scenario_of(run, DecodeStep{1, 1}, reason).value().kernels).value;
  };
  CHECK(profile("sglang", "h200_sxm", "fp8") == "h200-sglang");
  CHECK(profile("sglang", "b200_sxm", "fp8").ends_with("-vllm"));
  CHECK(profile("sglang", "b200_sxm", "bf16").ends_with("-trtllm"));
  CHECK(profile("vllm", "b200_sxm", "fp8").ends_with("-vllm"));
  CHECK(profile("vllm", "b200_sxm", "fp4").ends_with("-trtllm"));
  CHECK(profile("trtllm", "b200_sxm", "fp8").ends_with("-vllm"));
  CHECK(profile("trtllm", "b200_sxm", "fp4").ends_with("-trtllm"));
  CHECK(profile("trtllm", "h200_sxm", "fp8") == "h200-trtllm");
  // The shared expert is one of the routed only where all ranks have a part of each.
  CHECK(profile("sglang", "h200_sxm", "fp8", "deepseek-ai/DeepSeek-R1", 8) == "h200-vllm");
  CHECK(profile("sglang", "h200_sxm", "fp8", "deepseek-ai/DeepSeek-R1", 1) == "h200-sglang");
  CHECK(profile("sglang", "h200_sxm", "fp8", "Qwen/Qwen3.5-397B-A17B", 8) == "h200-sglang");
}

TEST_CASE("Servers that predict several tokens a step are known, and how many they draft") {
  const std::string header = "backend_version,silicon_data_source," + std::string(kHeader);
  // id | backend, model, system, precision, mode, prompt, output, sequences, TP, PP, attention DP, experts' TP.
  const auto drafts = [&](const std::string& version, const std::string& day, const std::string& run) {
    const ServingTable table =
        read(header + version + ",measured=" + day + "T22:26:21Z; wip=False,a," + run + ",90,6.5\n");
    REQUIRE(table.runs.size() == 1);
    const auto& speculative = table.runs.front().speculative;
    return speculative ? speculative->draft_tokens : 0;
  };
  const std::string b200 = "trtllm,deepseek-ai/DeepSeek-R1,b200_sxm,fp8,agg,1024,512,8,8,1,,8";
  CHECK(drafts("1.2.0rc6.post3", "2026-02-05", b200) == 3);
  CHECK(drafts("1.2.0rc6.post2", "2026-02-05", b200) == 0);
  const std::string h200 = "trtllm,deepseek-ai/DeepSeek-R1,h200_sxm,fp8,agg,1024,1024,16,1,1,8,1";
  CHECK(drafts("1.1.0rc2.post2", "2026-01-14", h200) == 1);
  CHECK(drafts("1.1.0rc2.post2", "2026-01-13", h200) == 0);
  const auto qwen = [](const char* tp, const char* experts_tp) {
    return std::string("sglang,Qwen/Qwen3.5-397B-A17B,b200_sxm,fp8,agg,1024,1024,16,") + tp + ",1,," + experts_tp;
  };
  CHECK(drafts("0.5.9", "2026-03-20", qwen("4", "4")) == 3);
  CHECK(drafts("0.5.9", "2026-03-20", qwen("4", "1")) == 0);
  CHECK(drafts("0.5.9", "2026-03-20", qwen("8", "8")) == 0);
  const auto sglang = [](const char* prompt, const char* sequences) {
    return std::string("sglang,deepseek-ai/DeepSeek-R1,b200_sxm,fp8,agg,") + prompt + ",1024," + sequences + ",8,1,,8";
  };
  CHECK(drafts("0.5.9", "2026-03-25", sglang("1024", "64")) == 0);
  CHECK(drafts("0.5.9", "2026-03-25", sglang("1024", "65")) == 2);
  CHECK(drafts("0.5.9", "2026-03-25", sglang("8192", "4")) == 0);
  CHECK(drafts("0.5.9", "2026-03-25", sglang("8192", "5")) == 2);
}

// One step gives each of 8 sequences 2.44 tokens of DeepSeek (published, for three drafts). Prompts are read beside 8·4
// verified tokens; what drafts tokens is in the step, but not in what a prompt makes longer.
TEST_CASE("A step that gives several tokens counts for so many, and errors of such runs are their own") {
  const std::string text = "backend_version,silicon_data_source," + std::string(kHeader) +
                           "1.2.0rc6.post3,measured=2026-02-05,a,trtllm,deepseek-ai/DeepSeek-R1,b200_sxm,fp8,agg,1000,"
                           "500,8,8,1,,8,90,6.5\n";
  const ServingValidation result = validate_serving(read(text), "", TaskPool(1));
  REQUIRE(result.predictions.size() == 1);
  const ServingPrediction& found = result.predictions.front();
  CHECK(found.tokens_per_step == Approx(2.44).epsilon(1e-9));
  std::string reason;
  const TaskPool pool(1);
  const DecodeStep step{8, 1250, std::nullopt, found.run.speculative};
  const StepResult tokens = run_step(*scenario_of(found.run, step, reason), {"", ""}, pool);
  const auto prompt = run_step(*scenario_of(found.run, PrefillStep{1, 1000 + 32, 0}, reason), {"", ""}, pool);
  double attention = 0.0;
  double model = 0.0;
  for (const Segment& segment : tokens.execution.timeline.front()) {
    const double time = segment.stage > tokens.layers + 1 ? 0.0 : (segment.end - segment.begin).duration().base();
    attention += segment.op == StepOperator::kAttention ? time : 0.0;
    model += time;
  }
  CHECK(found.decode.base() == tokens.execution.end.duration().base());
  CHECK(model < found.decode.base());
  CHECK(found.prefill.base() == Approx(prompt.execution.end.duration().base() + attention - model).epsilon(1e-6));
  CHECK(found.per_output_token.base() ==
        Approx(found.decode.base() / 2.44 + found.prefill.base() * 8 / 500).epsilon(1e-9));
  CHECK_FALSE(result.all);
  REQUIRE(result.several_tokens);
  CHECK(result.several_tokens->bias == Approx(found.error()));
  REQUIRE(result.groups.size() == 1);
  CHECK(result.groups.front().tokens == TokensPerStep::kSeveral);
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
