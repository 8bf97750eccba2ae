#include "validate/cases/drafting_servers.hpp"

namespace moesim {

namespace {

/// Whether a run generated several tokens a step. The table does not say, but InferenceX's configurations do
/// (SemiAnalysisAI/InferenceX, .github/configs/nvidia-master.yaml and perf-changelog.yaml):
/// - TensorRT-LLM 1.2.0rc6.post3 is the image of runs of DeepSeek with multi-token prediction, post2 that of those
///   without (pull requests 594, 620, 632, 642);
/// - 1.1.0rc2.post2 was both, but what was measured with it since 14 January 2026 is the sweep that pull request 392
///   began multi-token prediction with: only that has attention data-parallel over eight H200 for 128 or 256 requests;
/// - of SGLang's Qwen3.5 in fp8 on B200, experts split over four ranks are those with prediction alone (pull requests
///   897, 898, 918);
/// - of its DeepSeek in fp8 on eight B200, the runs without end at 64 requests, for prompts of 8192 tokens at 4, beyond
///   which they have four GPUs.
TokensPerStep tokens_of(const ServingRun& run, const Provenance& provenance) {
  const auto several_if = [](bool several) { return several ? TokensPerStep::kSeveral : TokensPerStep::kOne; };
  if (run.phases != ServerPhases::kAll) {
    return TokensPerStep::kOne;
  }
  const bool deepseek = run.model.starts_with("deepseek-ai/");
  if (run.backend == "trtllm" && deepseek) {
    return several_if(provenance.version == "1.2.0rc6.post3" ||
                      (provenance.version == "1.1.0rc2.post2" && provenance.measured >= "2026-01-14"));
  }
  if (run.backend != "sglang" || run.system != "b200_sxm" || run.precision != "fp8") {
    return TokensPerStep::kOne;
  }
  if (run.model.starts_with("Qwen/Qwen3.5")) {
    return several_if(run.tensor_parallel == 4 && run.expert_tensor_parallel == 4);
  }
  const std::int64_t most = run.prompt == 8192 ? 4 : 64;
  return several_if(deepseek && provenance.version == "0.5.9" && run.expert_tensor_parallel == 8 &&
                    run.sequences > most);
}

/// Tokens that such a run drafts, by its launch script (SemiAnalysisAI/InferenceX, benchmarks/single_node):
/// TensorRT-LLM (dsr1_fp8_h200_trt_mtp.sh, dsr1_fp8_b200_trt_mtp.sh, dsr1_fp4_b200_trt_mtp.sh) one where attention is
/// data-parallel, else three; SGLang two with DeepSeek (dsr1_fp8_b200_mtp.sh) and three with Qwen3.5
/// (qwen3.5_fp8_b200_mtp.sh).
int drafts_of(const ServingRun& run) {
  if (run.backend == "trtllm") {
    return run.data_parallel > 1 ? 1 : 3;
  }
  return run.model.starts_with("Qwen/") ? 3 : 2;
}

/// Tokens a step that were published for a model and so many drafts. Clients sent random tokens in a chat template, of
/// which nobody published any; no figure was chosen by these runs.
/// - DeepSeek-R1, one draft: 81 to 82.3 % accepted (vllm-project/vllm, pull request 12755); DeepSeek-V3, two and three:
///   2.18 and 2.44 tokens ("Accelerating SGLang with Multiple Token Prediction", LMSYS, 17 July 2025, on 16 H200).
/// - Qwen3.5-397B, three: 3.39, thinking, on the coding questions of SPEED-Bench (SemiAnalysisAI/InferenceX,
///   golden_al_distribution/qwen3.5_mtp.yaml).
double published_tokens_per_step(const ServingRun& run, int drafts) {
  if (run.model.starts_with("Qwen/")) {
    return 3.39;
  }
  constexpr double kFirst = 1.0 + (0.81 + 0.823) / 2.0;
  return drafts == 1 ? kFirst : drafts == 2 ? 2.18 : 2.44;
}

}  // namespace

std::optional<SpeculativeDecoding> speculative_of(const ServingRun& run, const Provenance& provenance) {
  if (tokens_of(run, provenance) == TokensPerStep::kOne) {
    return std::nullopt;
  }
  const int drafts = drafts_of(run);
  return SpeculativeDecoding{drafts, {acceptance_for(published_tokens_per_step(run, drafts), drafts)}};
}

}  // namespace moesim
