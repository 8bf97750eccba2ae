#pragma once

#include "workloads/routing/formats/npz.hpp"
#include "workloads/routing/formats/recording.hpp"

/// The readers behind trace_formats(), one file each.
namespace moesim {

// Choices of tokens as they stand: choices.cpp.
Recording read_npy(const std::filesystem::path& path, const TraceOptions& options);
Recording read_raw(const std::filesystem::path& path, const TraceOptions& options);

// Archives of arrays [tokens, layers, k], one a sequence: vllm_npz.cpp.
bool is_choices_npz(const NpzArchive& archive);
Recording read_choices_npz(const std::filesystem::path& path, const TraceOptions& options);
Recording read_choices_npz(const NpzArchive& archive, const TraceOptions& options);

// SGLang's expert distribution recorder: sglang.cpp. Its torch.save files go through tools/sglang_to_npz.py first.
Recording read_sglang_json(const std::filesystem::path& path, const TraceOptions& options);
bool is_sglang_stat(const NpzArchive& archive);
bool is_sglang_per_pass(const NpzArchive& archive);
bool is_sglang_per_token(const NpzArchive& archive);
Recording read_sglang_stat(const std::filesystem::path& path, const TraceOptions& options);
Recording read_sglang_per_pass(const std::filesystem::path& path, const TraceOptions& options);
Recording read_sglang_per_token(const std::filesystem::path& path, const TraceOptions& options);
Recording read_sglang_stat(const NpzArchive& archive);
Recording read_sglang_per_pass(const NpzArchive& archive);
Recording read_sglang_per_token(const NpzArchive& archive, const TraceOptions& options);

// TensorRT-LLM's EXPERT_STATISTIC_PATH: tensorrt_llm.cpp.
bool is_tensorrt_llm_counts(const std::filesystem::path& path);
bool is_tensorrt_llm_choices(const std::filesystem::path& path);
Recording read_tensorrt_llm_counts(const std::filesystem::path& path, const TraceOptions& options);
Recording read_tensorrt_llm_choices(const std::filesystem::path& path, const TraceOptions& options);

}  // namespace moesim
