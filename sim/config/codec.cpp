#include "sim/config/codec.hpp"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>

namespace moesim {

namespace detail {

namespace {

std::string range_text(const Rules& rules) {
  if (rules.positive) {
    return std::isfinite(rules.maximum) ? fmt::format("more than 0 and at most {}", rules.maximum) : "more than 0";
  }
  if (std::isfinite(rules.minimum) && std::isfinite(rules.maximum)) {
    return fmt::format("{} to {}", rules.minimum, rules.maximum);
  }
  return std::isfinite(rules.minimum) ? fmt::format("at least {}", rules.minimum)
                                      : fmt::format("at most {}", rules.maximum);
}

}  // namespace

bool check_number(const Cursor& cursor, const Rules& rules, double value) {
  const bool good = value >= rules.minimum && value <= rules.maximum && (!rules.positive || value > 0.0);
  return good || cursor.expected("a number, " + range_text(rules));
}

void number_rules(Json& schema, const Rules& rules) {
  // Narrows the limits that the schema already has from the C++ type, never widens them.
  if (std::isfinite(rules.minimum) && !(schema.contains("minimum") && schema["minimum"] >= rules.minimum)) {
    schema["minimum"] = rules.minimum;
  }
  if (std::isfinite(rules.maximum) && !(schema.contains("maximum") && schema["maximum"] <= rules.maximum)) {
    schema["maximum"] = rules.maximum;
  }
  if (rules.positive) {
    schema["exclusiveMinimum"] = 0;
  }
}

bool decode_integer(const Cursor& cursor, const Rules& rules, std::int64_t low, std::int64_t high, std::int64_t& out) {
  const Json& json = cursor.value();
  if (!json.is_number_integer()) {
    return cursor.expected("a whole number");
  }
  const bool too_large = json.is_number_unsigned() && json.get<std::uint64_t>() > static_cast<std::uint64_t>(high);
  if (too_large || json.get<std::int64_t>() < low || json.get<std::int64_t>() > high) {
    return cursor.expected(fmt::format("a whole number, {} to {}", low, high));
  }
  out = json.get<std::int64_t>();
  const auto value = static_cast<double>(out);
  const bool good = value >= rules.minimum && value <= rules.maximum && (!rules.positive || value > 0.0);
  return good || cursor.expected("a whole number, " + range_text(rules));
}

bool decode_quantity(const Cursor& cursor, const Rules& rules, const UnitTable& table, double& out) {
  const Json& json = cursor.value();
  if (json.is_number()) {
    return cursor.fail(fmt::format("expected {} as a string with its unit, such as \"{}\"; found the bare number {}",
                                   table.noun, table.example, json.dump()));
  }
  if (!json.is_string()) {
    return cursor.expected(fmt::format("{} such as \"{}\"", table.noun, table.example));
  }
  std::string message;
  const auto base = parse_quantity(json.get_ref<const std::string&>(), table, message);
  if (!base) {
    return cursor.fail(message);
  }
  if (rules.positive && !(*base > 0.0)) {
    return cursor.expected(fmt::format("{} above zero", table.noun));
  }
  out = *base;
  return true;
}

Json quantity_schema(const UnitTable& table, const Rules& rules) {
  return {{"type", "string"},
          {"pattern", quantity_pattern(table, rules.positive)},
          {"description", fmt::format("{} such as \"{}\"", table.noun, table.example)}};
}

bool fail_choice(const Cursor& cursor, const Names& names) {
  return cursor.expected(fmt::format("one of {}", fmt::join(names, ", ")));
}

bool fail_name(const Cursor& cursor, const Names& names, std::string_view found) {
  return cursor.fail(
      fmt::format("expected one of {}, found \"{}\"{}", fmt::join(names, ", "), found, did_you_mean(found, names)));
}

bool is_array_of(const Cursor& cursor, std::size_t min_items) {
  const Json& json = cursor.value();
  if (json.is_array() && json.size() >= min_items) {
    return true;
  }
  return cursor.expected(min_items > 0 ? fmt::format("an array of at least {}", min_items) : "an array");
}

const std::string* only_key(const Cursor& cursor, const Names& tags, BareName bare) {
  const Json& json = cursor.value();
  if (json.is_object() && json.size() == 1) {
    return &json.get_ref<const Json::object_t&>().begin()->first;
  }
  cursor.fail(fmt::format("expected {}an object with one of the keys {}, found {}",
                          bare == BareName::kAllowed ? "a name or " : "", fmt::join(tags, ", "),
                          json.is_object() ? fmt::format("{} keys", json.size()) : cursor.found()));
  return nullptr;
}

bool fail_tag(const Cursor& cursor, const Names& tags, std::string_view found) {
  return cursor.fail(fmt::format("expected one of the keys {}, found \"{}\"{}", fmt::join(tags, ", "), found,
                                 did_you_mean(found, tags)));
}

Json integer_schema(std::int64_t low, std::int64_t high, const Rules& rules) {
  Json schema = {{"type", "integer"}, {"minimum", low}, {"maximum", high}};
  number_rules(schema, rules);
  return schema;
}

Json names_schema(const Names& names) {
  Json json = Json::array();
  for (const std::string_view name : names) {
    json.push_back(std::string(name));
  }
  return {{"enum", std::move(json)}};
}

Json array_schema(Json items, std::size_t min_items) {
  Json schema = {{"type", "array"}, {"items", std::move(items)}};
  if (min_items > 0) {
    schema["minItems"] = min_items;
  }
  return schema;
}

Json keyed_schema(const Names& keys, const Json& value) {
  Json properties = Json::object();
  for (const std::string_view key : keys) {
    properties[std::string(key)] = value;
  }
  return {{"type", "object"}, {"properties", std::move(properties)}, {"additionalProperties", false}};
}

Json open_schema(Json value) { return {{"type", "object"}, {"additionalProperties", std::move(value)}}; }

Json tagged_schema(std::string_view tag, Json value) {
  return {{"type", "object"},
          {"properties", tagged(tag, std::move(value))},
          {"required", Json::array({std::string(tag)})},
          {"additionalProperties", false}};
}

Json tagged(std::string_view tag, Json value) {
  Json json = Json::object();
  json[std::string(tag)] = std::move(value);
  return json;
}

}  // namespace detail

Json Codec<bool>::schema(const Rules&) { return {{"type", "boolean"}}; }

Json Codec<double>::schema(const Rules& rules) {
  Json schema = {{"type", "number"}};
  detail::number_rules(schema, rules);
  return schema;
}

bool Codec<std::string>::decode(const Cursor& cursor, const Rules& rules, std::string& out) {
  if (!cursor.value().is_string() || cursor.value().get_ref<const std::string&>().size() < rules.min_items) {
    return cursor.expected(rules.min_items > 0 ? "a non-empty text" : "a text");
  }
  out = cursor.value().get<std::string>();
  return true;
}

Json Codec<std::string>::schema(const Rules& rules) {
  Json schema = {{"type", "string"}};
  if (rules.min_items > 0) {
    schema["minLength"] = rules.min_items;
  }
  return schema;
}

Json Codec<FilePath>::schema(const Rules&) { return {{"type", "string"}, {"minLength", 1}}; }

bool Codec<FilePath>::decode(const Cursor& cursor, const Rules&, FilePath& out) {
  if (!Codec<std::string>::decode(cursor, Rules::not_empty(), out.written)) {
    return false;
  }
  const std::filesystem::path beside = cursor.document().folder() / out.written;
  std::error_code unused;
  out.resolved = std::filesystem::exists(beside, unused) ? beside : std::filesystem::path(out.written);
  if (!std::filesystem::exists(out.resolved, unused) && !cursor.document().folder().empty()) {
    out.resolved = beside;  // the error names where it was looked for first
  }
  return true;
}

}  // namespace moesim
