#include "sim/config/describe.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "sim/config/codec.hpp"
#include "sim/config/decode.hpp"
#include "sim/core/error.hpp"
#include "sim/core/suggest.hpp"

namespace moesim::detail {

bool FieldDecoderBase::has_optional(const char* name) {
  known_.emplace_back(name);
  return cursor_.value().contains(name);
}

bool FieldDecoderBase::has_required(const char* name) {
  const bool present = has_optional(name);
  if (!present) {
    good_ = cursor_.fail(fmt::format("expected the key \"{}\", found none", name));
  }
  return present;
}

void FieldDecoderBase::tag(const char* name, std::string_view constant) {
  if (!has_optional(name)) {
    good_ = cursor_.fail(fmt::format("expected the key \"{}\": \"{}\", found none", name, constant));
    return;
  }
  const Cursor member = cursor_.member(name);
  if (!member.value().is_string() || member.value().get_ref<const std::string&>() != constant) {
    good_ = member.expected(fmt::format("\"{}\"", constant));
  }
}

bool FieldDecoderBase::finish() {
  for (const auto& [key, unused] : cursor_.value().items()) {
    if (std::find(known_.begin(), known_.end(), key) == known_.end()) {
      good_ = cursor_.fail(fmt::format("expected a known key, found \"{}\"{}", key, suggestion(key, known_)));
    }
  }
  return good_;
}

void FieldEncoderBase::tag(const char* name, std::string_view constant) { json_[name] = std::string(constant); }

void FieldEncoderBase::put(const char* name, Json value) { json_[name] = std::move(value); }

void FieldEncoderBase::put_if_present(const char* name, Json value) {
  if (!value.is_null()) {
    put(name, std::move(value));
  }
}

void FieldSchemaBase::tag(const char* name, std::string_view constant) {
  properties_[name] = {{"const", std::string(constant)}};
  required_.push_back(name);
}

void FieldSchemaBase::add(const char* name, std::string_view doc, Json schema) {
  const std::string inner = schema.value("description", "");
  schema["description"] = inner.empty() ? std::string(doc) : fmt::format("{} ({})", doc, inner);
  properties_[name] = std::move(schema);
}

void FieldSchemaBase::add_required(const char* name, std::string_view doc, Json schema) {
  add(name, doc, std::move(schema));
  required_.push_back(name);
}

void FieldSchemaBase::add_optional(const char* name, std::string_view doc, Json schema, Json fallback) {
  add(name, doc, std::move(schema));
  if (!fallback.is_null()) {
    properties_[name]["default"] = std::move(fallback);
  }
}

Json FieldSchemaBase::take(std::string_view doc) {
  Json schema = {{"type", "object"}, {"properties", std::move(properties_)}};
  if (!required_.empty()) {
    schema["required"] = std::move(required_);
  }
  schema["additionalProperties"] = false;
  if (!doc.empty()) {
    schema["description"] = std::string(doc);
  }
  return schema;
}

void raise(std::vector<Diagnostic> faults) {
  if (!faults.empty()) {
    throw ConfigError(std::move(faults));
  }
}

Json titled_schema(std::string_view title, Json schema) {
  Json titled = {{"$schema", "http://json-schema.org/draft-07/schema#"}, {"title", std::string(title)}};
  titled.update(schema);
  return titled;
}

}  // namespace moesim::detail
