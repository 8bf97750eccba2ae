#include "validate/cases/serving.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <tuple>
#include <utility>

#include "sim/core/error.hpp"
#include "sim/scenario/run.hpp"
#include "validate/cases/drafting_servers.hpp"
#include "validate/fit/calibrate.hpp"
#include "validate/fit/table_file.hpp"
#include "validate/fit/table_row.hpp"
#include "validate/fit/validate.hpp"

namespace moesim {

namespace {

/// Released checkpoints by the shapes that they have.
struct KnownModel {
  std::string_view repository;
  std::string_view architecture;  ///< in the catalogue
};
constexpr std::array kModels = std::to_array<KnownModel>({
    {"deepseek-ai/DeepSeek-R1", "deepseek-r1"},
    {"deepseek-ai/DeepSeek-V3", "deepseek-v3"},
    {"nvidia/DeepSeek-R1-NVFP4", "deepseek-r1"},
    {"Qwen/Qwen3-235B-A22B-FP8", "qwen3-235b-a22b"},
    {"openai/gpt-oss-120b", "gpt-oss-120b"},
    {"MiniMaxAI/MiniMax-M2.5", "minimax-m2"},  // the shapes of MiniMax-M2
    {"moonshotai/Kimi-K2.5", "kimi-k2.5"},     // the language model
    {"Qwen/Qwen3.5-397B-A17B", "qwen3.5-397b-a17b"},
    {"zhipuai/GLM-5", "glm-5"},
});

struct KnownSystem {
  std::string_view system;
  std::string_view cluster;
  std::string_view accelerator;
};
constexpr std::array kSystems = std::to_array<KnownSystem>(
    {{"h100_sxm", "hgx-h100", "h100-sxm"}, {"h200_sxm", "hgx-h200", "h200-sxm"}, {"b200_sxm", "hgx-b200", "b200-sxm"}});

/// Nobody recorded which experts these servers chose. DeepSeek-V3's own choices were recorded elsewhere, and are
/// generated like that, prompts and tokens apart (workloads/routing/catalogue). Loads of other models are drawn from 1
/// to 0.8·50: their logarithms then have a standard deviation of ln 40 / √12 = 1.06, where recordings have .97
/// (DeepSeek-V3 in decode: .85 between blocks of experts and .47 within) and .61 (DeepSeek-V2-Lite).
RoutingConfig routing_of(const ServingRun& run, const StepChoice& step) {
  constexpr std::size_t kRecordedRange = 50;
  if (run.model.find("DeepSeek") == std::string::npos) {
    return PowerLawRouting{.alpha = 1.01, .tokens = kRecordedRange};
  }
  GeneratorRouting recorded;
  recorded.name = std::holds_alternative<PrefillStep>(step) ? "deepseek-v3-prefill" : "deepseek-v3-decode";
  return recorded;
}

/// Absent cells are 1: a server that was not told has no such parallelism.
int ways(const TableRow& row, std::string_view column) {
  return row.text(column).empty() ? 1 : static_cast<int>(std::lround(row.number(column)));
}

/// Whether the server kept its cache in fp8. The table does not say; the runs are InferenceX's, whose launch scripts do
/// (SemiAnalysisAI/InferenceX, benchmarks/single_node/*.sh, and for servers apart the recipes that they name):
/// TensorRT-LLM with DeepSeek always, with gpt-oss on Blackwell; SGLang on Blackwell, but for checkpoints in 16 bits,
/// and with Qwen3.5 in fp8 on Hopper too; vLLM with gpt-oss on Blackwell. Others leave it to the server, which takes 16
/// bits.
bool caches_in_fp8(const ServingRun& run) {
  const bool blackwell = run.system == "b200_sxm";
  const bool gpt_oss = run.model.starts_with("openai/");
  if (run.backend == "trtllm") {
    return run.model.find("DeepSeek") != std::string::npos || (gpt_oss && blackwell);
  }
  if (run.backend == "sglang") {
    return run.precision != "bf16" && (blackwell || run.model.starts_with("Qwen/Qwen3.5"));
  }
  return gpt_oss && blackwell;
}

/// Types by what the table calls the checkpoint. 4-bit integers and gpt-oss's mxfp4 are the routed experts' alone.
/// NVIDIA's nvfp4 checkpoints leave attention in 16 bits: DeepSeek's (nvidia/DeepSeek-V3-0324-NVFP4,
/// hf_quant_config.json, has self_attn* of every layer excluded), GLM-5's (its products of attention run as cuBLAS's
/// bf16 kernels), Qwen's (sgl-project/sglang#18189; NVIDIA/Model-Optimizer's recipes of qwen3_5 disable linear_attn).
Precision precision_of(const ServingRun& run) {
  Precision precision;
  precision.weights = DataType::kBf16;
  precision.kv = caches_in_fp8(run) ? DataType::kFp8 : DataType::kBf16;
  if (run.system == "h200_sxm" && run.precision == "fp8" && run.model.starts_with("Qwen/Qwen3.5")) {
    precision.state = DataType::kBf16;  // --mamba-ssm-dtype of InferenceX's qwen3.5_fp8_h200.sh
  }
  if (run.precision == "fp8") {
    precision.weights = DataType::kFp8Block;
  } else if (run.precision == "int4") {
    precision.experts = DataType::kInt4;
  } else if (run.model.starts_with("openai/")) {
    precision.experts = DataType::kMxFp4;
  } else if (run.precision == "fp4") {
    precision.weights = precision.experts = DataType::kNvFp4;
    precision.attention = DataType::kBf16;
  }
  return precision;
}

/// Whose table has the kernels that a server runs. On Blackwell, by the same scripts, these are seldom its own: SGLang
/// runs TensorRT-LLM's attention and FlashInfer's experts (--attention-backend trtllm_mla or trtllm_mha,
/// --moe-runner-backend flashinfer_trtllm), TensorRT-LLM the same experts (moe_config's backend TRTLLM), vLLM
/// FlashInfer's 4-bit ones (VLLM_USE_FLASHINFER_MOE_MXFP4_MXFP8). Experts in blocks of fp8 from others' than
/// TensorRT-LLM's own grouped products were measured under vLLM, whose profile has attention from TensorRT-LLM; those
/// of other types that FlashInfer has from TensorRT-LLM, under that.
///
/// On Hopper SGLang runs Triton's experts, which are as fast as they are tuned. Where all ranks have a part of each of
/// DeepSeek's experts, it computes the shared one as a 257th (deepseek_v2.py, determine_num_fused_shared_experts) and
/// is tuned for that (fused_moe_triton/configs/triton_3_3_1/E=257,N=256,device_name=NVIDIA_H200,…); its collector
/// timed 256, for which there is no such file, by the default configuration, and with the choice of experts
/// (aiconfigurator, collector/sglang/collect_moe.py, get_default_config). vLLM has the same kernel tuned for 256.
std::string kernels_of(const ServingRun& run) {
  const bool blackwell = run.system == "b200_sxm";
  const bool fp8 = run.precision == "fp8";
  if (run.backend == "sglang" && !blackwell) {
    const bool fused = run.model.starts_with("deepseek-ai/") && run.expert_tensor_parallel > 1;
    return fp8 && fused ? "vllm" : run.backend;
  }
  if (!blackwell || (run.backend == "vllm" && run.precision != "fp4")) {
    return run.backend;
  }
  return fp8 ? "vllm" : "trtllm";
}

/// Prompts and outputs, on average. InferenceX draws both evenly between 0.8 of the nominal length and all of it
/// (RANDOM_RANGE_RATIO of .github/workflows/benchmark-tmpl.yml; of servers apart, srt-slurm's sa-bench/bench.sh). Its
/// scenarios have 1024 and 8192 tokens; no other run of the table has such a pair.
struct Lengths {
  std::int64_t prompt = 0;
  std::int64_t output = 0;
};
Lengths mean_lengths(const ServingRun& run) {
  constexpr std::int64_t kShort = 1024;
  constexpr std::int64_t kLong = 8192;
  const auto either = [](std::int64_t length) { return length == kShort || length == kLong; };
  if (!either(run.prompt) || !either(run.output) || (run.prompt == kLong && run.output == kLong)) {
    return {run.prompt, run.output};
  }
  constexpr double kMean = (0.8 + 1.0) / 2.0;
  return {std::llround(kMean * static_cast<double>(run.prompt)), std::llround(kMean * static_cast<double>(run.output))};
}

/// Whether a step that generates tokens reads prompts as well, as TensorRT-LLM's (in-flight batching) and vLLM's do
/// (docs.vllm.ai, configuration/optimization, chunked prefill). SGLang's steps do one or the other unless it is started
/// with --enable-mixed-chunk, which InferenceX's scripts do not.
bool reads_prompts_beside_tokens(const ServingRun& run) { return run.backend != "sglang"; }

/// "2026-01-14" of "…; measured=2026-01-14T22:26:21Z; …".
std::string_view day_measured(std::string_view source) {
  constexpr std::string_view kBefore = "measured=";
  constexpr std::size_t kDay = 10;
  const std::size_t at = source.find(kBefore);
  return at == std::string_view::npos ? "" : source.substr(at + kBefore.size(), kDay);
}

DispatchProtocol protocol_of(const ServingRun& run) {
  return run.data_parallel > 1 ? DispatchProtocol::kAllGather : DispatchProtocol::kAllReduce;
}

/// Of servers of these phases, with so many tokens a step; std::nullopt where there is none.
std::optional<FitErrors> errors_between(const std::vector<ServingPrediction>& predictions, ServerPhases phases,
                                        TokensPerStep tokens = TokensPerStep::kOne) {
  std::vector<double> relative;
  for (const ServingPrediction& prediction : predictions) {
    if (prediction.run.phases == phases && prediction.run.tokens() == tokens) {
      relative.push_back(prediction.error());
    }
  }
  return relative.empty() ? std::nullopt : std::optional(errors_of(std::move(relative)));
}

std::vector<ServingErrors> group(const std::vector<ServingPrediction>& predictions) {
  std::map<std::tuple<ServerPhases, TokensPerStep, std::string, std::string, std::string>, std::vector<double>> groups;
  for (const ServingPrediction& prediction : predictions) {
    const ServingRun& run = prediction.run;
    groups[{run.phases, run.tokens(), run.system, run.backend, run.model}].push_back(prediction.error());
  }
  std::vector<ServingErrors> rows;
  for (auto& [key, relative] : groups) {
    auto [phases, tokens, system, backend, model] = key;
    rows.push_back(
        {phases, tokens, std::move(system), std::move(backend), std::move(model), errors_of(std::move(relative))});
  }
  return rows;
}

/// What comes out where a run can be simulated, else why not.
struct Attempt {
  std::optional<ServingPrediction> prediction;
  SkippedRun skipped;
};

/// What the model itself takes, without what drafts tokens after it.
Duration model_time(const StepResult& result) { return result.execution.stage_end[result.layers + 1].duration(); }

/// What one rank does in the model's own layers of a decode step for each sequence by itself, over what it has cached.
Duration attention_time(const StepResult& result) {
  SimTime sum;
  for (const Segment& segment : result.execution.timeline.front()) {
    if (segment.stage > result.layers + 1) {
      continue;
    }
    if (segment.op == StepOperator::kAttention || segment.op == StepOperator::kIndexer ||
        segment.op == StepOperator::kRecurrence) {
      sum = sum + (segment.end - segment.begin);
    }
  }
  return sum.duration();
}

Attempt predict(const ServingRun& run) {
  Attempt attempt{.prediction = {}, .skipped = {run.id, {}}};
  const Place place{run.id, ""};
  const Lengths mean = mean_lengths(run);
  const DecodeStep wanted{run.sequences, mean.prompt + mean.output / 2, std::nullopt, run.speculative};
  const auto decode = scenario_of(run, wanted, attempt.skipped.kind);
  if (!decode) {
    return attempt;
  }
  try {
    const TaskPool one(1);
    ServingPrediction prediction{.run = run, .profile = std::get<ProfileName>(decode->kernels).value};
    const StepResult tokens = run_step(*decode, place, one);
    prediction.decode = tokens.execution.end.duration();
    prediction.tokens_per_step = tokens.tokens_per_step;
    prediction.per_output_token = prediction.decode * (1.0 / tokens.tokens_per_step);
    if (run.phases == ServerPhases::kAll) {
      const bool beside = reads_prompts_beside_tokens(run);
      const std::int64_t verified = run.sequences * (1 + wanted.draft_tokens());
      const PrefillStep step{1, mean.prompt + (beside ? verified : 0), 0};
      const Scenario prefill = scenario_of(run, step, attempt.skipped.kind).value();
      prediction.prefill = run_step(prefill, place, one).execution.end.duration();
      if (beside) {
        prediction.prefill = std::max(prediction.prefill + attention_time(tokens) - model_time(tokens), Duration{});
      }
      prediction.per_output_token +=
          prediction.prefill * (static_cast<double>(run.sequences) / static_cast<double>(mean.output));
    }
    attempt.prediction = std::move(prediction);
  } catch (const ConfigError& error) {  // nothing but the layout and its memory can be wrong with such scenarios
    attempt.skipped.kind = "refused for its memory or layout";
    attempt.skipped.details = error.what();
  } catch (const ModelError& error) {
    attempt.skipped.kind = "outside what the models hold for";
    attempt.skipped.details = error.what();
  }
  return attempt;
}

}  // namespace

ServingTable read_serving_table(const std::filesystem::path& path) {
  const TableFile file = TableFile::read(path);
  const bool says_decode = file.find("decode_batch_size").has_value();
  const bool says_version = file.find("backend_version").has_value();
  const bool says_source = file.find("silicon_data_source").has_value();
  ServingTable table;
  for (std::size_t i = 0; i < file.rows(); ++i) {
    const TableRow row(file, i);
    ServingRun run{.id = std::string(row.text("id")),
                   .backend = std::string(row.text("backend")),
                   .model = std::string(row.text("model_path")),
                   .system = std::string(row.text("system")),
                   .precision = std::string(row.text("precision"))};
    if (row.text("mode") != "agg") {
      run.phases = ServerPhases::kDecode;
      if (!says_decode || row.text("decode_batch_size").empty()) {
        table.skipped.push_back({run.id,
                                 "prompts and tokens on servers of their own, of which the table says neither how many "
                                 "there were nor how many sequences each ran"});
        continue;
      }
    }
    const std::string prefix = run.phases == ServerPhases::kDecode ? "decode_" : "";
    if (row.text(prefix + "moe_tp_size") == "0") {
      table.skipped.push_back({run.id, "over how many ranks an expert is split is not told"});
      continue;
    }
    run.prompt = std::llround(row.number("isl"));
    run.output = std::llround(row.number("osl"));
    run.sequences = std::llround(row.number(prefix + "batch_size"));
    run.tensor_parallel = ways(row, prefix + "tp_size");
    run.data_parallel = ways(row, prefix + "attention_dp_size");
    run.expert_tensor_parallel = ways(row, prefix + "moe_tp_size");
    run.first_token = seconds(row.number("silicon_ttft_ms") * 1e-3);
    run.per_output_token = seconds(row.number("silicon_tpot_ms") * 1e-3);
    run.speculative = speculative_of(run, {says_version ? row.text("backend_version") : "",
                                           says_source ? day_measured(row.text("silicon_data_source")) : ""});
    if (ways(row, prefix + "pp_size") > 1) {
      table.skipped.push_back({run.id, "pipeline parallelism"});
      continue;
    }
    if (run.first_token > static_cast<double>(run.output) * run.per_output_token) {
      table.skipped.push_back(
          {run.id, "waited longer to begin than to end, so that fewer sequences ran than were asked for"});
      continue;
    }
    table.runs.push_back(std::move(run));
  }
  return table;
}

std::optional<Scenario> scenario_of(const ServingRun& run, const StepChoice& step, std::string& reason) {
  const auto model = std::find_if(kModels.begin(), kModels.end(),
                                  [&](const KnownModel& known) { return known.repository == run.model; });
  const auto system = std::find_if(kSystems.begin(), kSystems.end(),
                                   [&](const KnownSystem& known) { return known.system == run.system; });
  if (model == kModels.end() || system == kSystems.end()) {
    reason = fmt::format("{} is in no catalogue", model == kModels.end() ? run.model : run.system);
    return std::nullopt;
  }
  Scenario scenario;
  scenario.name = run.id;
  scenario.model = ModelName{std::string(model->architecture)};
  scenario.cluster = ClusterName{std::string(system->cluster)};
  scenario.kernels = ProfileName{nearest_profile(std::string(system->accelerator), kernels_of(run))};
  scenario.precision = precision_of(run);
  scenario.parallelism.ranks = static_cast<std::int64_t>(run.tensor_parallel) * run.data_parallel;
  scenario.parallelism.tensor_parallel = run.tensor_parallel;
  scenario.parallelism.expert_tensor_parallel = run.expert_tensor_parallel;
  scenario.step = step;
  scenario.routing = routing_of(run, step);
  scenario.dispatch.protocol = protocol_of(run);
  return scenario;
}

ServingValidation validate_serving(const ServingTable& table, const std::string& system, const TaskPool& pool) {
  std::vector<const ServingRun*> runs;
  for (const ServingRun& run : table.runs) {
    if (system.empty() || run.system == system) {
      runs.push_back(&run);
    }
  }
  std::vector<Attempt> attempts(runs.size());
  pool.for_each_index(runs.size(), [&](std::size_t i) { attempts[i] = predict(*runs[i]); });
  ServingValidation result;
  result.skipped = table.skipped;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (attempts[i].prediction) {
      result.predictions.push_back(std::move(*attempts[i].prediction));
    } else {
      result.skipped.push_back(std::move(attempts[i].skipped));
    }
  }
  result.groups = group(result.predictions);
  result.all = errors_between(result.predictions, ServerPhases::kAll);
  result.several_tokens = errors_between(result.predictions, ServerPhases::kAll, TokensPerStep::kSeveral);
  result.disaggregated = errors_between(result.predictions, ServerPhases::kDecode);
  return result;
}

}  // namespace moesim
