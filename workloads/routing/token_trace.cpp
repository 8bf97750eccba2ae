#include "workloads/routing/token_trace.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <string_view>

#include "sim/config/codec.hpp"
#include "sim/config/describe.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "workloads/routing/formats/choices.hpp"
#include "workloads/routing/formats/recording.hpp"

namespace moesim {

namespace {

[[noreturn]] void fail(std::string_view name, std::string message) {
  throw ConfigError({std::string(name), {}}, std::move(message));
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
  Recording recording = open_recording(path, options);
  if (auto* trace = std::get_if<TokenTrace>(&recording.data)) {
    return std::move(*trace);
  }
  fail(path.string(), fmt::format("expected choices of tokens, found counts only ({})", recording.format));
}

TokenTrace TokenTrace::from_bytes(std::span<const std::byte> file, const std::string& name,
                                  const TraceOptions& options) {
  return from_array(std::filesystem::path(name).extension() == ".npy" ? npy_choices(file, name)
                                                                      : raw_choices(file, name, options.raw),
                    options);
}

TokenTrace TokenTrace::from_array(TokenArray array, const TraceOptions& options) {
  const std::string& name = array.name;
  const IdArray& ids = array.ids;
  if (ids.tokens == 0 || ids.layers == 0 || ids.k == 0) {
    fail(name, fmt::format("expected a trace with tokens, layers and choices, found {} tokens, {} layers, k = {}",
                           ids.tokens, ids.layers, ids.k));
  }
  constexpr std::size_t kMostExperts = std::size_t{1} << 16;  // ExpertIndex has 16 bits
  if (ids.k > kMostExperts) {
    fail(name, fmt::format("expected at most {} experts per token, found {}", kMostExperts, ids.k));
  }
  TokenTrace trace;
  std::vector<std::size_t> layers(ids.layers);
  std::optional<std::size_t> experts = array.experts;
  if (options.needs) {
    if (ids.k != options.needs->k) {
      fail(name, fmt::format("expected {} experts per token, as the model has, found {}", options.needs->k, ids.k));
    }
    layers = match_layers(ids.layers, *options.needs, name);
    experts = options.needs->experts;
  } else {
    std::iota(layers.begin(), layers.end(), std::size_t{0});
  }
  const bool may_drop = options.dropped || (options.needs && options.needs->capacity_factor);
  const Fillers fillers = may_drop ? Fillers::kDropped : options.needs ? Fillers::kRefuse : Fillers::kEmptyLayers;
  trace.scan_ = std::make_shared<const IdScan>(
      scan_ids(ids, layers, experts, fillers, name, TaskPool(std::max<std::size_t>(1, options.threads))));
  trace.layers_ = trace.scan_->layers;
  for (const std::size_t layer : trace.layers_) {
    trace.file_layers_.push_back(array.layer_numbers.empty() ? layer : array.layer_numbers.at(layer));
  }
  trace.shape_ = {.tokens = ids.tokens, .layers = trace.layers_.size(), .k = ids.k, .experts = trace.scan_->experts};

  const std::string lengths_name = options.sequence_lengths ? options.sequence_lengths->string() : name;
  std::size_t start = 0;
  for (const std::size_t length :
       options.sequence_lengths ? read_sequence_lengths(*options.sequence_lengths) : array.sequence_lengths) {
    trace.sequence_starts_.push_back(start);
    start += length;
  }
  if (!trace.sequence_starts_.empty() && start != ids.tokens) {
    fail(lengths_name,
         fmt::format("expected lengths that add up to the {} tokens of {}, found {}", ids.tokens, name, start));
  }
  trace.name_ = name;
  trace.ids_ = ids;
  trace.owner_ = std::move(array.owner);
  return trace;
}

void TokenTrace::read(std::size_t token, std::size_t layer, std::span<ExpertIndex> out) const {
  ensure(token < shape_.tokens && layer < shape_.layers && out.size() == shape_.k, "a read within the trace");
  const std::size_t from = (token * ids_.layers + layers_[layer]) * shape_.k;
  if (ids_.type == NpyType::kUint8) {
    std::transform(ids_.data.begin() + static_cast<std::ptrdiff_t>(from),
                   ids_.data.begin() + static_cast<std::ptrdiff_t>(from + out.size()), out.begin(),
                   [](std::byte id) { return static_cast<ExpertIndex>(id); });
    return;
  }
  for (std::size_t slot = 0; slot < out.size(); ++slot) {
    out[slot] = static_cast<ExpertIndex>(id_at(ids_.type, ids_.data, from + slot));
  }
}

}  // namespace moesim
