#include "sim/planning/sweep_config.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <span>
#include <utility>

#include "sim/config/codec.hpp"
#include "sim/config/decode.hpp"
#include "sim/core/suggest.hpp"

namespace moesim {

template struct DescribedCodec<SweepConfig>;

std::span<const EmbeddedFile> sweep_files();

const Catalogue& sweep_catalogue() {
  static const Catalogue catalogue("sweep", sweep_files());
  return catalogue;
}

const UnitTable* units_of(Figure figure) {
  switch (figure) {
    case Figure::kStepTime:
    case Figure::kTimePerOutputToken:
      return &unit_table<Duration>();
    case Figure::kHbmPeakPerRank:
    case Figure::kBytesInterNode:
      return &unit_table<Bytes>();
    case Figure::kCostPerMillionTokens:
      return &unit_table<Price>();
    default:
      return nullptr;
  }
}

double value_of(Figure figure, const Json& value, const Place& place) {
  const UnitTable* table = units_of(figure);
  if (table == nullptr) {
    if (!value.is_number()) {
      throw ConfigError(place, fmt::format("expected a number, as {} is one, found {}", name_of(figure), value.dump()));
    }
    return value.get<double>();
  }
  if (!value.is_string()) {
    throw ConfigError(place, fmt::format("expected {} with its unit, such as \"{}\", found {}", table->noun,
                                         table->example, value.dump()));
  }
  std::string message;
  const auto base = parse_quantity(value.get_ref<const std::string&>(), *table, message);
  if (!base) {
    throw ConfigError(place, message);
  }
  return *base;
}

namespace {

Place pointer_place(const Place& place, std::string_view list, std::string_view pointer) {
  return below(place, fmt::format("{}/{}", list, Document::token(pointer)));
}

void check_pointer(const std::string& pointer, const Place& place) {
  if (pointer.empty() || pointer.front() != '/') {
    throw ConfigError(place, fmt::format("expected a JSON pointer into the scenario, such as "
                                         "\"/step/decode/context\", found \"{}\"",
                                         pointer));
  }
}

/// Whether what one pointer names is what the other names, or holds it.
bool overlap(std::string_view a, std::string_view b) {
  const auto holds = [](std::string_view outer, std::string_view inner) {
    return inner.starts_with(outer) && (inner.size() == outer.size() || inner[outer.size()] == '/');
  };
  return holds(a, b) || holds(b, a);
}

/// A value that another axis, or another pointer of the same one, writes over would stand in the table and not in the
/// run.
void check_apart(const SweepConfig& config, const Place& place) {
  std::vector<std::string_view> seen;
  for (std::size_t axis = 0; axis < config.axes.size(); ++axis) {
    for (const auto& [pointer, values] : config.axes[axis].value) {
      for (const std::string_view other : seen) {
        if (overlap(pointer, other)) {
          throw ConfigError(pointer_place(place, fmt::format("/axes/{}", axis), pointer),
                            fmt::format("expected pointers that do not name the same value, found \"{}\", too", other));
        }
      }
      seen.push_back(pointer);
    }
  }
}

std::size_t length_of(const SweepAxis& axis) { return axis.value.begin()->second.size(); }

void check_axis(const SweepAxis& axis, const std::string& at, const Place& place) {
  if (axis.value.empty()) {
    throw ConfigError(below(place, at), "expected a JSON pointer with its values, found none");
  }
  for (const auto& [pointer, values] : axis.value) {
    const Place here = pointer_place(place, at, pointer);
    check_pointer(pointer, here);
    if (values.empty()) {
      throw ConfigError(here, "expected at least 1 value, found none");
    }
    if (values.size() != length_of(axis)) {
      throw ConfigError(here, fmt::format("expected {} values, as many as \"{}\" has, which changes together with it, "
                                          "found {}",
                                          length_of(axis), axis.value.begin()->first, values.size()));
    }
  }
}

}  // namespace

Document base_document(const SweepConfig& config, const Place& place) {
  const Place here = below(place, "/scenario");
  std::error_code unused;
  const bool is_file = std::filesystem::exists(config.scenario.resolved, unused);
  if (!is_file && !scenario_catalogue().contains(config.scenario.written)) {
    throw ConfigError(
        here, fmt::format("expected a scenario file or the name of a scenario, found \"{}\", which is "
                          "neither{}",
                          config.scenario.written, suggestion(config.scenario.written, scenario_catalogue().names())));
  }
  Document document =
      is_file ? Document::read(config.scenario.resolved) : scenario_catalogue().find(config.scenario.written, here);
  for (const auto& [pointer, value] : config.set) {
    const Place at = pointer_place(place, "/set", pointer);
    check_pointer(pointer, at);
    document.set(pointer, value, at);
  }
  return document;
}

std::size_t count_points(const SweepConfig& config, const Place& place) {
  std::size_t points = 1;
  for (std::size_t axis = 0; axis < config.axes.size(); ++axis) {
    check_axis(config.axes[axis], fmt::format("/axes/{}", axis), place);
    points *= length_of(config.axes[axis]);
    if (points > kMostPoints) {
      throw ConfigError(below(place, "/axes"),
                        fmt::format("expected at most {} combinations, found more", kMostPoints));
    }
  }
  check_apart(config, place);
  return points;
}

std::string value_text(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::vector<std::size_t> values_at(const SweepConfig& config, std::size_t point) {
  std::vector<std::size_t> at(config.axes.size());
  for (std::size_t axis = config.axes.size(); axis-- > 0;) {
    at[axis] = point % length_of(config.axes[axis]);
    point /= length_of(config.axes[axis]);
  }
  return at;
}

std::string values_text(const SweepConfig& config, const std::vector<std::size_t>& at) {
  std::string text;
  for (std::size_t axis = 0; axis < at.size(); ++axis) {
    for (const auto& [pointer, values] : config.axes[axis].value) {
      const Json& value = values[at[axis]];
      text += fmt::format("{}{}={}", text.empty() ? "" : ", ", pointer, value_text(value));
    }
  }
  return text;
}

Scenario scenario_at(const SweepConfig& config, const Document& base, const std::vector<std::size_t>& at,
                     const Place& place) {
  Document document = base;
  for (std::size_t axis = 0; axis < at.size(); ++axis) {
    for (const auto& [pointer, values] : config.axes[axis].value) {
      const Place here = pointer_place(place, fmt::format("/axes/{}", axis), pointer);
      document.set(pointer, values[at[axis]], below(here, fmt::format("/{}", at[axis])));
    }
  }
  try {
    return decode_document<Scenario>(document);
  } catch (const ConfigError& error) {
    std::vector<Diagnostic> faults;
    for (const Diagnostic& fault : error.diagnostics()) {
      faults.push_back({below(place, "/axes"), fmt::format("with {}: {}", values_text(config, at), fault.text())});
    }
    throw ConfigError(std::move(faults));
  }
}

}  // namespace moesim
