#include "models/architecture/huggingface_reader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <variant>

#include "sim/config/codec.hpp"
#include "sim/config/describe.hpp"
#include "sim/config/document.hpp"
#include "sim/core/suggest.hpp"

namespace moesim {

template <class T>
T HuggingFaceReader::read(const std::string& key, const Rules& rules) const {
  T value{};
  if (!cursor_.value().is_object() || !cursor_.value().contains(key)) {
    cursor_.fail(fmt::format("expected the key \"{}\", found none", key));
    return value;
  }
  Codec<T>::decode(cursor_.member(key), rules, value);
  return value;
}

template <class T>
T HuggingFaceReader::read_or(const std::string& key, const Rules& rules, T fallback) const {
  return has(key) ? read<T>(key, rules) : fallback;
}

bool HuggingFaceReader::has(const std::string& key) const {
  const Json& json = cursor_.value();
  return json.is_object() && json.contains(key) && !json.at(key).is_null();
}

int HuggingFaceReader::size(const std::string& key) const {
  const int value = read<int>(key, Rules::between(1, 1 << 30));
  return std::max(value, 1);  // after a fault too, so that divisions by it are defined
}

int HuggingFaceReader::size_or(const std::string& key, int fallback) const { return has(key) ? size(key) : fallback; }

int HuggingFaceReader::count_or(const std::string& key, int fallback) const {
  return read_or<int>(key, Rules::between(0, 1 << 30), fallback);
}

int HuggingFaceReader::number_or(const std::string& key, int fallback) const { return read_or<int>(key, {}, fallback); }

bool HuggingFaceReader::flag_or(const std::string& key, bool fallback) const {
  return read_or<bool>(key, {}, fallback);
}

std::string HuggingFaceReader::text_or(const std::string& key, std::string fallback) const {
  return read_or<std::string>(key, {}, std::move(fallback));
}

std::vector<std::string> HuggingFaceReader::texts(const std::string& key) const {
  return read_or<std::vector<std::string>>(key, {}, {});
}

std::vector<std::string> HuggingFaceReader::keys() const {
  std::vector<std::string> keys;
  if (cursor_.value().is_object()) {
    for (const auto& [key, value] : cursor_.value().items()) {
      keys.push_back(key);
    }
  }
  return keys;
}

std::vector<int> HuggingFaceReader::numbers(const std::string& key) const {
  return read_or<std::vector<int>>(key, {}, {});
}

std::vector<int> HuggingFaceReader::numbers_per_layer(const std::string& key, int layers) const {
  std::vector<int> values = numbers(key);
  if (!values.empty() && values.size() != static_cast<std::size_t>(layers)) {
    fail(key, fmt::format("expected one number for each of {} layers, found {}", layers, values.size()));
    values.clear();
  }
  return values;
}

std::vector<std::string> HuggingFaceReader::kinds_per_layer(const std::string& key, int layers,
                                                            std::vector<std::string_view> known) const {
  auto kinds = read_or<std::vector<std::string>>(key, {}, {});
  if (!kinds.empty() && kinds.size() != static_cast<std::size_t>(layers)) {
    fail(key, fmt::format("expected one kind for each of {} layers, found {}", layers, kinds.size()));
    return {};
  }
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    if (std::find(known.begin(), known.end(), kinds[i]) == known.end()) {
      cursor_.member(key).element(i).fail(fmt::format("expected one of {}, found \"{}\"{}", fmt::join(known, ", "),
                                                      kinds[i], did_you_mean(kinds[i], known)));
    }
  }
  return kinds;
}

HuggingFaceReader HuggingFaceReader::inside(const std::string& key) const {
  if (!has(key) || !cursor_.value().at(key).is_object()) {
    cursor_.fail(fmt::format("expected the key \"{}\" with an object, found none", key));
    return *this;
  }
  return HuggingFaceReader(cursor_.member(key));
}

void HuggingFaceReader::fail(const std::string& key, std::string message) const {
  (has(key) ? cursor_.member(key) : cursor_).fail(std::move(message));
}

namespace {

/// "sliding-moe", "linear-moe", "dense", …
std::string kind_of(const Block& block) {
  std::string kind;
  if (const auto* attention = std::get_if<GroupedQueryAttention>(&block.mixer)) {
    kind = attention->window ? "windowed-" : "";
  } else if (std::holds_alternative<LinearAttention>(block.mixer)) {
    kind = "linear-";
  }
  return kind + (std::holds_alternative<MixtureOfExperts>(block.feed_forward) ? "moe" : "dense");
}

/// Layers i and i+period are the same everywhere, and the period divides the length.
bool repeats(const std::vector<std::string>& names, std::size_t period) {
  return names.size() % period == 0 &&
         std::equal(names.begin() + static_cast<std::ptrdiff_t>(period), names.end(), names.begin());
}

std::vector<LayerRun> runs_of(const std::vector<std::string>& names) {
  std::vector<LayerRun> runs;
  for (const std::string& name : names) {
    if (!runs.empty() && runs.back().pattern[0] == name) {
      ++runs.back().repeat;
    } else {
      runs.push_back({.pattern = {name}});
    }
  }
  return runs;
}

}  // namespace

void set_layers(Architecture& architecture, const std::vector<Block>& layers) {
  std::vector<std::pair<Json, std::string>> known;
  std::vector<std::string> names;
  for (const Block& block : layers) {
    const Json json = Codec<Block>::encode(block);
    const auto found = std::find_if(known.begin(), known.end(), [&](const auto& entry) { return entry.first == json; });
    if (found != known.end()) {
      names.push_back(found->second);
      continue;
    }
    std::string name = kind_of(block);
    for (int i = 2; architecture.blocks.contains(name); ++i) {
      name = fmt::format("{}-{}", kind_of(block), i);
    }
    known.emplace_back(json, name);
    architecture.blocks[name] = block;
    names.push_back(name);
  }
  architecture.layers = runs_of(names);
  for (std::size_t period = 2; architecture.layers.size() > 2 && period <= names.size() / 2; ++period) {
    if (repeats(names, period)) {
      architecture.layers = {{.pattern = {names.begin(), names.begin() + static_cast<std::ptrdiff_t>(period)},
                              .repeat = static_cast<int>(names.size() / period)}};
    }
  }
}

}  // namespace moesim
