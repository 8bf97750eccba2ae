#include "workloads/routing/token_trace.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <string_view>

#include "sim/config/codec.hpp"
#include "sim/config/describe.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"

namespace moesim {

namespace {

constexpr std::size_t kMostExperts = std::size_t{1} << 16;  // ExpertIndex has 16 bits

[[noreturn]] void fail(std::string_view name, std::string message) {
  throw ConfigError({std::string(name), {}}, std::move(message));
}

template <class T>
std::int64_t load(std::span<const std::byte> data, std::size_t index) {
  T value{};
  std::memcpy(&value, data.data() + index * sizeof(T), sizeof(T));
  if constexpr (std::is_same_v<T, std::uint64_t>) {
    // Beyond int64 it is out of range whatever it is; the largest value says so in messages.
    return static_cast<std::int64_t>(
        std::min<std::uint64_t>(value, static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())));
  } else {
    return static_cast<std::int64_t>(value);
  }
}

std::int64_t load(NpyType type, std::span<const std::byte> data, std::size_t index) {
  switch (type) {
    case NpyType::kUint8:
      return load<std::uint8_t>(data, index);
    case NpyType::kInt8:
      return load<std::int8_t>(data, index);
    case NpyType::kUint16:
      return load<std::uint16_t>(data, index);
    case NpyType::kInt16:
      return load<std::int16_t>(data, index);
    case NpyType::kUint32:
      return load<std::uint32_t>(data, index);
    case NpyType::kInt32:
      return load<std::int32_t>(data, index);
    case NpyType::kUint64:
      return load<std::uint64_t>(data, index);
    case NpyType::kInt64:
      return load<std::int64_t>(data, index);
    case NpyType::kFloat32:
    case NpyType::kFloat64:
      break;
  }
  throw_internal("a routing trace of floats", std::source_location::current());
}

/// Reads "T8222" at `at` of the name's parts; absent unless it is that letter and a number.
std::optional<std::size_t> lettered_number(std::string_view part, char letter) {
  constexpr std::size_t kMostDigits = 15;
  if (part.size() < 2 || part.size() > kMostDigits || part[0] != letter) {
    return std::nullopt;
  }
  std::size_t value = 0;
  for (const char c : part.substr(1)) {
    if (c < '0' || c > '9') {
      return std::nullopt;
    }
    value = value * 10 + static_cast<std::size_t>(c - '0');
  }
  return value;
}

/// "intent_T8222_L26_K6_E64.u8" has its lengths in "intent_seq_lens.json" beside it, where that is there.
std::optional<std::filesystem::path> lengths_beside(const std::filesystem::path& path) {
  const std::string stem = path.stem().string();
  const std::size_t cut = stem.rfind("_T");
  const std::filesystem::path beside =
      path.parent_path() / ((cut == std::string::npos ? stem : stem.substr(0, cut)) + "_seq_lens.json");
  std::error_code unused;
  return std::filesystem::exists(beside, unused) ? std::optional(beside) : std::nullopt;
}

}  // namespace

std::optional<RawTraceShape> raw_shape_from_name(std::string_view file_name) {
  std::string_view stem = file_name.substr(0, file_name.rfind('.'));
  constexpr std::string_view kLetters = "EKLT";  // from the end
  std::array<std::size_t, 4> values{};
  for (std::size_t i = 0; i < kLetters.size(); ++i) {
    const std::size_t cut = stem.rfind('_');
    const auto value = lettered_number(cut == std::string_view::npos ? stem : stem.substr(cut + 1), kLetters[i]);
    if (!value) {
      return std::nullopt;
    }
    values[i] = *value;
    stem = cut == std::string_view::npos ? std::string_view{} : stem.substr(0, cut);
  }
  return RawTraceShape{.layers = values[2], .k = values[1], .experts = values[0], .tokens = values[3]};
}

std::vector<std::size_t> read_sequence_lengths(const std::filesystem::path& path) {
  const Document document = Document::read(path);
  std::vector<Diagnostic> faults;
  std::vector<std::size_t> lengths;
  constexpr double kLongest = 1e12;  // keeps the sum far from overflow
  Codec<std::vector<std::size_t>>::decode(Cursor(document, faults), {.minimum = 1, .maximum = kLongest, .min_items = 1},
                                          lengths);
  if (!faults.empty()) {
    throw ConfigError(std::move(faults));
  }
  return lengths;
}

std::vector<std::size_t> match_layers(std::size_t file_layers, const RoutingNeeds& needs, std::string_view name) {
  std::vector<std::size_t> layers(needs.moe_layers);
  if (file_layers == needs.moe_layers) {
    std::iota(layers.begin(), layers.end(), std::size_t{0});
    return layers;
  }
  if (file_layers == needs.all_layers) {
    if (!needs.moe_layer_indices.empty()) {
      ensure(needs.moe_layer_indices.size() == needs.moe_layers, "an index for each MoE layer");
      return needs.moe_layer_indices;
    }
    std::iota(layers.begin(), layers.end(), needs.all_layers - needs.moe_layers);
    return layers;
  }
  fail(name,
       needs.all_layers == needs.moe_layers
           ? fmt::format("expected routing of {} layers, as many as the model has, found {}", needs.moe_layers,
                         file_layers)
           : fmt::format("expected routing of {} layers (the model's MoE layers) or {} (all its layers), found {}",
                         needs.moe_layers, needs.all_layers, file_layers));
}

TokenTrace TokenTrace::open(const std::filesystem::path& path, const TraceOptions& options) {
  auto file = std::make_shared<const MappedFile>(path);
  TraceOptions completed = options;
  if (!completed.sequence_lengths && path.extension() != ".npy") {
    completed.sequence_lengths = lengths_beside(path);
  }
  TokenTrace trace = from_bytes(file->bytes(), path.string(), completed);
  trace.file_ = std::move(file);
  return trace;
}

TokenTrace TokenTrace::from_bytes(std::span<const std::byte> file, const std::string& name,
                                  const TraceOptions& options) {
  TokenTrace trace;
  trace.name_ = name;
  std::optional<std::size_t> experts;
  if (std::filesystem::path(name).extension() == ".npy") {
    const NpyHeader header = parse_npy_header(file, name);
    if (header.shape.size() != 3) {
      fail(name, fmt::format("expected an array of 3 dimensions [tokens, layers, k], found {}: [{}]",
                             header.shape.size(), fmt::join(header.shape, ", ")));
    }
    if (!is_integer(header.type)) {
      fail(name, fmt::format("expected expert ids of an integer type, found {}", name_of(header.type)));
    }
    trace.type_ = header.type;
    trace.data_ = file.subspan(header.data_offset);
    trace.layers_in_file_ = header.shape[1];
    trace.shape_ = {.tokens = header.shape[0], .layers = 0, .k = header.shape[2], .experts = 0};
  } else {
    const auto raw = options.raw ? options.raw : raw_shape_from_name(std::filesystem::path(name).filename().string());
    if (!raw) {
      fail(name,
           "expected a .npy file, or raw uint8 with its shape in the name (…_T8222_L26_K6_E64.u8) or in the "
           "configuration, found neither");
    }
    constexpr std::size_t kMost = std::size_t{1} << 24;
    if (raw->layers == 0 || raw->k == 0 || raw->experts == 0 || raw->layers > kMost || raw->k > kMost) {
      fail(name, fmt::format("expected a raw shape with layers, k and experts above zero, found {}, {}, {}",
                             raw->layers, raw->k, raw->experts));
    }
    const std::size_t row = raw->layers * raw->k;
    if (file.size() % row != 0 || (raw->tokens && file.size() / row != *raw->tokens)) {
      fail(name,
           fmt::format("expected {} tokens of {} bytes ({} layers × {} experts), found {} bytes",
                       raw->tokens ? std::to_string(*raw->tokens) : "whole", row, raw->layers, raw->k, file.size()));
    }
    trace.type_ = NpyType::kUint8;
    trace.data_ = file;
    trace.layers_in_file_ = raw->layers;
    trace.shape_ = {.tokens = file.size() / row, .layers = 0, .k = raw->k, .experts = 0};
    experts = raw->experts;
  }
  if (trace.shape_.tokens == 0 || trace.layers_in_file_ == 0 || trace.shape_.k == 0) {
    fail(name, fmt::format("expected a trace with tokens, layers and choices, found {} tokens, {} layers, k = {}",
                           trace.shape_.tokens, trace.layers_in_file_, trace.shape_.k));
  }
  if (options.needs) {
    if (trace.shape_.k != options.needs->k) {
      fail(name,
           fmt::format("expected {} experts per token, as the model has, found {}", options.needs->k, trace.shape_.k));
    }
    trace.layers_ = match_layers(trace.layers_in_file_, *options.needs, name);
    experts = options.needs->experts;
  } else {
    trace.layers_.resize(trace.layers_in_file_);
    std::iota(trace.layers_.begin(), trace.layers_.end(), std::size_t{0});
  }
  trace.shape_.layers = trace.layers_.size();
  trace.check_ids(experts);
  if (options.sequence_lengths) {
    std::size_t start = 0;
    for (const std::size_t length : read_sequence_lengths(*options.sequence_lengths)) {
      trace.sequence_starts_.push_back(start);
      start += length;
    }
    if (start != trace.shape_.tokens) {
      fail(options.sequence_lengths->string(),
           fmt::format("expected lengths that add up to the {} tokens of {}, found {}", trace.shape_.tokens, name,
                       start));
    }
  }
  return trace;
}

std::int64_t TokenTrace::element(std::size_t index) const { return load(type_, data_, index); }

void TokenTrace::check_ids(std::optional<std::size_t> experts) {
  const std::size_t k = shape_.k;
  if (k > kMostExperts) {
    fail(name_, fmt::format("expected at most {} experts per token, found {}", kMostExperts, k));
  }
  const auto bound = static_cast<std::int64_t>(std::min(experts.value_or(kMostExperts), kMostExperts));
  std::int64_t largest = 0;
  std::vector<std::int64_t> row(k);
  std::vector<std::uint32_t> last_row_of(static_cast<std::size_t>(bound), 0);
  std::uint32_t row_number = 0;
  for (std::size_t token = 0; token < shape_.tokens; ++token) {
    for (const std::size_t layer : layers_) {
      const std::size_t from = (token * layers_in_file_ + layer) * k;
      if (++row_number == 0) {  // wrapped around: forget what the numbers meant
        std::fill(last_row_of.begin(), last_row_of.end(), 0);
        row_number = 1;
      }
      bool twice = false;
      for (std::size_t slot = 0; slot < k; ++slot) {
        const std::int64_t id = element(from + slot);
        if (id < 0 || id >= bound) {
          fail(name_, fmt::format("expected expert ids from 0 to {}, found {} at token {}, layer {}, slot {}{}",
                                  bound - 1, id, token, layer, slot,
                                  id == -1 ? " (a filler of an incomplete recording: cut these tokens off)" : ""));
        }
        largest = std::max(largest, id);
        twice = twice || last_row_of[static_cast<std::size_t>(id)] == row_number;
        last_row_of[static_cast<std::size_t>(id)] = row_number;
      }
      rows_with_duplicates_ += twice ? 1 : 0;
    }
  }
  shape_.experts = experts ? *experts : std::max(static_cast<std::size_t>(largest) + 1, k);
}

void TokenTrace::read(std::size_t token, std::size_t layer, std::span<ExpertIndex> out) const {
  ensure(token < shape_.tokens && layer < shape_.layers && out.size() == shape_.k, "a read within the trace");
  const std::size_t from = (token * layers_in_file_ + layers_[layer]) * shape_.k;
  for (std::size_t slot = 0; slot < out.size(); ++slot) {
    out[slot] = static_cast<ExpertIndex>(element(from + slot));
  }
}

}  // namespace moesim
