#include "workloads/routing/formats/choices.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "workloads/routing/formats/readers.hpp"

namespace moesim {

namespace {

/// "intent_T8222_L26_K6_E64.u8" has its lengths in "intent_seq_lens.json" beside it, where that is there.
std::optional<std::filesystem::path> lengths_beside(const std::filesystem::path& path) {
  const std::string stem = path.stem().string();
  const std::size_t cut = stem.rfind("_T");
  const std::filesystem::path beside =
      path.parent_path() / ((cut == std::string::npos ? stem : stem.substr(0, cut)) + "_seq_lens.json");
  std::error_code unused;
  return std::filesystem::exists(beside, unused) ? std::optional(beside) : std::nullopt;
}

[[noreturn]] void reject(const std::string& name, std::string message) {
  throw ConfigError({name, {}}, std::move(message));
}

}  // namespace

IdArray ids_of(const NpyHeader& header, std::span<const std::byte> data, const std::string& name) {
  if (header.shape.size() != 3) {
    reject(name, fmt::format("expected an array of 3 dimensions [tokens, layers, k], found {}: [{}]",
                             header.shape.size(), fmt::join(header.shape, ", ")));
  }
  if (!is_integer(header.type)) {
    reject(name, fmt::format("expected expert ids of an integer type, found {}", name_of(header.type)));
  }
  return {data, header.type, header.shape[0], header.shape[1], header.shape[2]};
}

TokenArray npy_choices(std::span<const std::byte> file, const std::string& name) {
  const NpyHeader header = parse_npy_header(file, name);
  return {.name = name, .ids = ids_of(header, file.subspan(header.data_offset), name)};
}

TokenArray raw_choices(std::span<const std::byte> file, const std::string& name,
                       const std::optional<RawTraceShape>& shape) {
  const auto raw = shape ? shape : raw_shape_from_name(std::filesystem::path(name).filename().string());
  if (!raw) {
    reject(name,
           "expected a .npy file, or raw uint8 with its shape in the name (…_T8222_L26_K6_E64.u8) or in the "
           "configuration, found neither");
  }
  constexpr std::size_t kMost = std::size_t{1} << 24;
  if (raw->layers == 0 || raw->k == 0 || raw->experts == 0 || raw->layers > kMost || raw->k > kMost) {
    reject(name, fmt::format("expected a raw shape with layers, k and experts above zero, found {}, {}, {}",
                             raw->layers, raw->k, raw->experts));
  }
  const std::size_t row = raw->layers * raw->k;
  if (file.size() % row != 0 || (raw->tokens && file.size() / row != *raw->tokens)) {
    reject(name,
           fmt::format("expected {} tokens of {} bytes ({} layers × {} experts), found {} bytes",
                       raw->tokens ? std::to_string(*raw->tokens) : "whole", row, raw->layers, raw->k, file.size()));
  }
  return {
      .name = name, .ids = {file, NpyType::kUint8, file.size() / row, raw->layers, raw->k}, .experts = raw->experts};
}

Recording read_npy(const std::filesystem::path& path, const TraceOptions& options) {
  auto file = std::make_shared<const MappedFile>(path);
  TokenArray array = npy_choices(file->bytes(), path.string());
  array.owner = std::move(file);
  return {.format = "npy", .data = TokenTrace::from_array(std::move(array), options), .files = {path}};
}

Recording read_raw(const std::filesystem::path& path, const TraceOptions& options) {
  auto file = std::make_shared<const MappedFile>(path);
  TokenArray array = raw_choices(file->bytes(), path.string(), options.raw);
  array.owner = std::move(file);
  TraceOptions completed = options;
  if (!completed.sequence_lengths) {
    completed.sequence_lengths = lengths_beside(path);
  }
  return {.format = "raw", .data = TokenTrace::from_array(std::move(array), completed), .files = {path}};
}

}  // namespace moesim
