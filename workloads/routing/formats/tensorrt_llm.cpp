#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <set>

#include "sim/config/codec.hpp"
#include "sim/config/decode.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "workloads/routing/formats/readers.hpp"
#include "workloads/routing/formats/safetensors.hpp"
#include "workloads/routing/formats/scratch_file.hpp"
#include "workloads/routing/id_scan.hpp"

/// What TensorRT-LLM writes to EXPERT_STATISTIC_PATH (tensorrt_llm/_torch/pyexecutor, examples/ep_load_balancer):
///   meta_info.json            {"num_experts", "num_experts_per_token"}
///   rank{r}.safetensors       "{iteration}_{layer}" → choices that fell on each expert, [experts]; ranks add up
///   rank{r}_raw.safetensors   "{iteration}_{layer}" → chosen experts of the rank's tokens, [tokens, k]
namespace moesim {

namespace {

constexpr std::string_view kMeta = "meta_info.json";
constexpr std::string_view kRaw = "_raw.safetensors";
constexpr std::string_view kEnding = ".safetensors";

struct MetaInfo {
  std::size_t num_experts = 0;
  std::size_t num_experts_per_token = 0;
  std::optional<std::size_t> ep_size;
  std::optional<std::size_t> experts_per_rank;

  template <class F>
  static void describe(F& f) {
    f.required("num_experts", &MetaInfo::num_experts, "Experts of a layer", Rules::between(1, 65536));
    f.required("num_experts_per_token", &MetaInfo::num_experts_per_token, "Experts per token",
               Rules::between(1, 65536));
    f.optional("ep_size", &MetaInfo::ep_size, "Ranks of expert parallelism");
    f.optional("experts_per_rank", &MetaInfo::experts_per_rank, "Experts of a rank");
  }
};

std::filesystem::path folder_of(const std::filesystem::path& path) {
  std::error_code unused;
  if (std::filesystem::is_directory(path, unused)) {
    return path;
  }
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

/// "rank12" + ending → 12.
std::optional<std::size_t> rank_of(const std::string& file_name, std::string_view ending) {
  constexpr std::string_view kRank = "rank";
  if (!file_name.starts_with(kRank) || !file_name.ends_with(ending)) {
    return std::nullopt;
  }
  const char* begin = file_name.data() + kRank.size();
  const char* end = file_name.data() + file_name.size() - ending.size();
  std::size_t rank = 0;
  const auto [stop, error] =
      begin < end ? std::from_chars(begin, end, rank) : std::from_chars_result{begin, std::errc::invalid_argument};
  return error == std::errc{} && stop == end ? std::optional(rank) : std::nullopt;
}

/// The folder's files by rank.
std::map<std::size_t, std::filesystem::path> rank_files(const std::filesystem::path& folder, std::string_view ending) {
  std::map<std::size_t, std::filesystem::path> files;
  std::error_code unused;
  for (const auto& entry : std::filesystem::directory_iterator(folder, unused)) {
    if (const auto rank = rank_of(entry.path().filename().string(), ending)) {
      files.emplace(*rank, entry.path());
    }
  }
  return files;
}

bool is_of_the_recorder(const std::filesystem::path& path) {
  std::error_code unused;
  const std::string name = path.filename().string();
  return std::filesystem::exists(folder_of(path) / kMeta, unused) &&
         (std::filesystem::is_directory(path, unused) || name == kMeta || rank_of(name, kEnding) ||
          rank_of(name, kRaw));
}

struct Key {
  std::size_t iteration = 0;
  std::size_t layer = 0;
  auto operator<=>(const Key&) const = default;
};

std::optional<Key> key_of(std::string_view text) {
  Key key;
  const char* end = text.data() + text.size();
  const auto [middle, first] = std::from_chars(text.data(), end, key.iteration);
  if (first != std::errc{} || middle == end || *middle != '_') {
    return std::nullopt;
  }
  const auto [stop, second] = std::from_chars(middle + 1, end, key.layer);
  return second == std::errc{} && stop == end ? std::optional(key) : std::nullopt;
}

/// One rank's file, its tensors by iteration and layer.
struct RankFile {
  std::string name;
  MappedFile file;
  std::map<Key, SafeTensor> tensors;

  [[noreturn]] void fail(const SafeTensor& tensor, std::string message) const {
    throw ConfigError({name, "/" + tensor.name}, std::move(message));
  }
};

RankFile open_rank(const std::filesystem::path& path) {
  RankFile rank{path.string(), MappedFile(path), {}};
  for (SafeTensor& tensor : parse_safetensors(rank.file.bytes(), rank.name)) {
    const auto key = key_of(tensor.name);
    if (!key) {
      rank.fail(tensor, fmt::format("expected a name \"ITERATION_LAYER\", found {}", Json(tensor.name).dump()));
    }
    if (!is_integer(tensor.type)) {
      rank.fail(tensor, fmt::format("expected integers, found {}", name_of(tensor.type)));
    }
    rank.tensors.emplace(*key, std::move(tensor));
  }
  return rank;
}

/// Numbers of the iterations and of the layers, each in order.
struct Axes {
  std::vector<std::size_t> iterations;
  std::vector<std::size_t> layers;
};

Axes axes_of(std::span<const RankFile> ranks, const std::filesystem::path& folder) {
  std::set<std::size_t> iterations;
  std::set<std::size_t> layers;
  for (const RankFile& rank : ranks) {
    for (const auto& [key, tensor] : rank.tensors) {
      iterations.insert(key.iteration);
      layers.insert(key.layer);
    }
  }
  if (iterations.empty()) {
    throw ConfigError({folder.string(), {}}, "expected recorded iterations, found none");
  }
  return {{iterations.begin(), iterations.end()}, {layers.begin(), layers.end()}};
}

struct Recorded {
  MetaInfo meta;
  std::vector<RankFile> ranks;
  std::vector<std::filesystem::path> files;
  std::filesystem::path folder;
};

Recorded open_all(const std::filesystem::path& path, std::string_view ending) {
  Recorded recorded;
  recorded.folder = folder_of(path);
  const std::filesystem::path meta = recorded.folder / kMeta;
  recorded.meta = decode_document<MetaInfo>(Document::read(meta));
  recorded.files.push_back(meta);
  for (const auto& [rank, file] : rank_files(recorded.folder, ending)) {
    recorded.ranks.push_back(open_rank(file));
    recorded.files.push_back(file);
  }
  if (recorded.ranks.empty()) {
    throw ConfigError({recorded.folder.string(), {}},
                      fmt::format("expected files rank*{} beside {}, found none", ending, kMeta));
  }
  return recorded;
}

}  // namespace

bool is_tensorrt_llm_choices(const std::filesystem::path& path) {
  return is_of_the_recorder(path) && !rank_of(path.filename().string(), kEnding) &&
         !rank_files(folder_of(path), kRaw).empty();
}
bool is_tensorrt_llm_counts(const std::filesystem::path& path) { return is_of_the_recorder(path); }

Recording read_tensorrt_llm_counts(const std::filesystem::path& path, const TraceOptions&) {
  const Recorded recorded = open_all(path, kEnding);
  const Axes axes = axes_of(recorded.ranks, recorded.folder);
  Recording recording{.format = "tensorrt-llm", .data = CountTrace{}, .files = recorded.files};
  const std::size_t experts = recorded.meta.num_experts;
  const std::size_t kept = std::min(axes.iterations.size(), most_steps(axes.layers.size(), experts));
  if (kept < axes.iterations.size()) {
    recording.notes.push_back(fmt::format("{} iterations added up to {}", axes.iterations.size(), kept));
  }
  StepCounts steps{.place = {recorded.folder.string(), {}},
                   .steps = kept,
                   .layers = axes.layers.size(),
                   .experts = experts,
                   .counts = std::vector<double>(kept * axes.layers.size() * experts, 0.0),
                   .layer_numbers = axes.layers};
  std::size_t missing = 0;
  for (const RankFile& rank : recorded.ranks) {
    missing += axes.iterations.size() * axes.layers.size() - rank.tensors.size();
    for (const auto& [key, tensor] : rank.tensors) {
      if (tensor.shape.size() != 1 || tensor.shape.front() != experts) {
        rank.fail(tensor, fmt::format("expected counts [{}], as {} says, found [{}]", experts, kMeta,
                                      fmt::join(tensor.shape, ", ")));
      }
      const auto iteration = static_cast<std::size_t>(
          std::lower_bound(axes.iterations.begin(), axes.iterations.end(), key.iteration) - axes.iterations.begin());
      const auto layer = static_cast<std::size_t>(std::lower_bound(axes.layers.begin(), axes.layers.end(), key.layer) -
                                                  axes.layers.begin());
      double* row = steps.counts.data() + (iteration * kept / axes.iterations.size() * steps.layers + layer) * experts;
      for (std::size_t e = 0; e < experts; ++e) {
        const std::int64_t count = id_at(tensor.type, tensor.data, e);
        if (count < 0) {
          rank.fail(tensor, fmt::format("expected counts from 0 on, found {} of expert {}", count, e));
        }
        row[e] += static_cast<double>(count);
      }
    }
  }
  if (missing > 0) {
    recording.notes.push_back(
        fmt::format("{} of {} tensors (ranks × iterations × layers) are not there: taken as zeros", missing,
                    recorded.ranks.size() * axes.iterations.size() * axes.layers.size()));
  }
  CountTrace counts = counts_of_steps(steps);
  counts.k = recorded.meta.num_experts_per_token;
  recording.data = std::move(counts);
  return recording;
}

/// Tokens in the order of iterations, within one of ranks.
Recording read_tensorrt_llm_choices(const std::filesystem::path& path, const TraceOptions& options) {
  const Recorded recorded = open_all(path, kRaw);
  const Axes axes = axes_of(recorded.ranks, recorded.folder);
  const std::size_t k = recorded.meta.num_experts_per_token;
  ScratchFile scratch;
  std::vector<std::uint16_t> row(k);
  std::size_t tokens = 0;
  for (const std::size_t iteration : axes.iterations) {
    for (const RankFile& rank : recorded.ranks) {
      std::vector<const SafeTensor*> layers;
      for (const std::size_t layer : axes.layers) {
        const auto found = rank.tensors.find({iteration, layer});
        if (found == rank.tensors.end()) {
          continue;
        }
        const SafeTensor& tensor = found->second;
        if (tensor.shape.size() != 2 || tensor.shape[1] != k) {
          rank.fail(tensor, fmt::format("expected experts of tokens [tokens, {}], as {} says, found [{}]", k, kMeta,
                                        fmt::join(tensor.shape, ", ")));
        }
        if (!layers.empty() && tensor.shape[0] != layers.front()->shape[0]) {
          rank.fail(tensor, fmt::format("expected {} tokens, as {} has, found {}", layers.front()->shape[0],
                                        layers.front()->name, tensor.shape[0]));
        }
        layers.push_back(&tensor);
      }
      if (layers.empty()) {
        continue;  // the rank had no tokens
      }
      if (layers.size() != axes.layers.size()) {
        throw ConfigError({rank.name, {}},
                          fmt::format("expected all of the {} recorded layers in iteration {}, found {}",
                                      axes.layers.size(), iteration, layers.size()));
      }
      for (std::size_t token = 0; token < layers.front()->shape[0]; ++token) {
        for (const SafeTensor* tensor : layers) {
          for (std::size_t slot = 0; slot < k; ++slot) {
            const std::int64_t id = id_at(tensor->type, tensor->data, token * k + slot);
            if (id < 0 || id >= static_cast<std::int64_t>(recorded.meta.num_experts)) {
              rank.fail(*tensor, fmt::format("expected expert ids from 0 to {}, found {} at token {}, slot {}",
                                             recorded.meta.num_experts - 1, id, token, slot));
            }
            row[slot] = static_cast<std::uint16_t>(id);
          }
          scratch.append(std::as_bytes(std::span(row)));
        }
      }
      tokens += layers.front()->shape[0];
    }
  }
  const auto mapped = scratch.map();
  return {.format = "tensorrt-llm-raw",
          .data = TokenTrace::from_array({.name = recorded.folder.string(),
                                          .ids = {mapped->bytes(), NpyType::kUint16, tokens, axes.layers.size(), k},
                                          .experts = recorded.meta.num_experts,
                                          .layer_numbers = axes.layers,
                                          .owner = mapped},
                                         options),
          .files = recorded.files};
}

}  // namespace moesim
