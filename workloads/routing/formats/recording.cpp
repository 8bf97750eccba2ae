#include "workloads/routing/formats/recording.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>

#include "sim/core/error.hpp"
#include "sim/core/suggest.hpp"
#include "workloads/routing/formats/readers.hpp"

namespace moesim {

namespace {

using Path = std::filesystem::path;

constexpr std::string_view kZip = "PK\x03\x04";
constexpr std::string_view kNpy = "\x93NUMPY";

/// Asks an archive whose arrays are to be looked at; not one that is damaged, which the first reader of archives then
/// says.
bool archive_that(const Path& path, std::string_view head, bool (*has)(const NpzArchive&)) {
  if (!head.starts_with(kZip)) {
    return false;
  }
  const std::vector<std::string> names = zip_names(path);
  const bool arrays =
      std::all_of(names.begin(), names.end(), [](const std::string& name) { return name.ends_with(".npy"); });
  return arrays && !names.empty() && has(NpzArchive::open(path));
}

/// A torch.save file is a zip archive with a pickle in it: nothing to be read without torch.
bool is_torch(const Path& path, std::string_view head) {
  if (!head.starts_with(kZip)) {
    return false;
  }
  const std::vector<std::string> names = zip_names(path);
  return std::any_of(names.begin(), names.end(), [](const std::string& name) { return name.ends_with("/data.pkl"); });
}

Recording refuse_torch(const Path& path, const TraceOptions&) {
  throw ConfigError({path.string(), {}},
                    "expected arrays, found a torch.save file: convert it with "
                    "workloads/routing/tools/sglang_to_npz.py where torch is installed");
}

constexpr std::string_view kVllm = "vLLM, CompletionOutput.routed_experts";
constexpr std::string_view kSglang = "SGLang, srt/eplb/expert_distribution.py";
constexpr std::string_view kTensorRt = "TensorRT-LLM, EXPERT_STATISTIC_PATH";

constexpr auto kFormats = std::to_array<TraceFormat>({
    {"npy", "Choices [tokens, layers, k], integers", kVllm,
     [](const Path& path, std::string_view head) { return path.extension() == ".npy" || head.starts_with(kNpy); },
     read_npy},
    {"tensorrt-llm-raw", "Folder with meta_info.json and rank*_raw.safetensors: choices", kTensorRt,
     [](const Path& path, std::string_view) { return is_tensorrt_llm_choices(path); }, read_tensorrt_llm_choices},
    {"tensorrt-llm", "Folder with meta_info.json and rank*.safetensors: counts", kTensorRt,
     [](const Path& path, std::string_view) { return is_tensorrt_llm_counts(path); }, read_tensorrt_llm_counts},
    {"sglang-json", "Counts {\"logical_count\": [layers][experts]}", "SGLang, --init-expert-location",
     [](const Path& path, std::string_view) { return path.extension() == ".json"; }, read_sglang_json},
    {"sglang-stat", "Recorder, mode stat, as .npz: logical_count [steps, layers, experts]", kSglang,
     [](const Path& path, std::string_view head) { return archive_that(path, head, is_sglang_stat); },
     read_sglang_stat},
    {"sglang-per-pass", "Recorder, mode per_pass, as .npz: global_physical_count [records, layers, physical]", kSglang,
     [](const Path& path, std::string_view head) { return archive_that(path, head, is_sglang_per_pass); },
     read_sglang_per_pass},
    {"sglang-per-token", "Recorder, mode per_token, as .npz: topk_ids_of_layer [tokens, layers, slots]", kSglang,
     [](const Path& path, std::string_view head) { return archive_that(path, head, is_sglang_per_token); },
     read_sglang_per_token},
    {"torch", "What torch.save wrote: named, not read", kSglang, is_torch, refuse_torch},
    {"npz", "Choices [tokens, layers, k] of one array a sequence", kVllm,
     [](const Path& path, std::string_view head) { return path.extension() == ".npz" || head.starts_with(kZip); },
     read_choices_npz},
    {"raw", "uint8 [tokens][layers][k] with nothing around it, shape in the name", "ESFT (deepseek-ai/ESFT)",
     [](const Path&, std::string_view) { return true; }, read_raw},
});

/// The file's first bytes; none for a folder. What cannot be opened, the reader says.
std::string head_of(const Path& path) {
  std::error_code unused;
  if (!std::filesystem::is_regular_file(path, unused)) {
    return {};
  }
  constexpr std::size_t kHead = 8;
  std::string head(kHead, '\0');
  std::ifstream in(path, std::ios::binary);
  in.read(head.data(), kHead);
  head.resize(static_cast<std::size_t>(std::max<std::streamsize>(0, in.gcount())));
  return head;
}

}  // namespace

std::span<const TraceFormat> trace_formats() { return kFormats; }

Recording open_recording(const Path& path, const TraceOptions& options) {
  if (options.format) {
    std::vector<std::string_view> names;
    for (const TraceFormat& format : kFormats) {
      names.push_back(format.name);
      if (format.name == *options.format) {
        return format.read(path, options);
      }
    }
    throw ConfigError({path.string(), {}}, fmt::format("expected a format of recorded routing, found \"{}\"{}",
                                                       *options.format, suggestion(*options.format, names)));
  }
  const std::string head = head_of(path);
  const auto format =
      std::find_if(kFormats.begin(), kFormats.end(), [&](const TraceFormat& f) { return f.recognises(path, head); });
  ensure(format != kFormats.end(), "a format that takes what no other does");
  std::error_code unused;
  if (format->name == "raw" && std::filesystem::is_directory(path, unused)) {
    throw ConfigError({path.string(), {}},
                      "expected a file, or a folder with meta_info.json and rank*.safetensors (TensorRT-LLM), found a "
                      "folder without them");
  }
  return format->read(path, options);
}

CountTrace counts_of(const Recording& recording) {
  return std::visit(
      [](const auto& data) {
        if constexpr (std::is_same_v<std::decay_t<decltype(data)>, TokenTrace>) {
          return count(data);
        } else {
          return data;
        }
      },
      recording.data);
}

}  // namespace moesim
