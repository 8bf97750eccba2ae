#pragma once

#include <algorithm>

#include "sim/config/codec.hpp"

/// A struct says once what its JSON looks like:
///
///   struct Nic {
///     std::string name;
///     Bandwidth bandwidth;
///     Duration latency = seconds(2e-6);
///
///     static constexpr std::string_view kDoc = "A network interface.";
///     template <class F>
///     static void describe(F& f) {
///       f.required("name", &Nic::name, "Name in the catalogue");
///       f.required("bandwidth", &Nic::bandwidth, "Each direction", Rules::above_zero());
///       f.optional("latency", &Nic::latency, "Wire and switch excluded");   // default: the member's own
///     }
///   };
///
/// From that come the strict decoder, the encoder (for resolved configurations) and the JSON Schema, so that the
/// three cannot disagree. A kind of file also says f.tag("schema", "moesim.nic/1") first.
namespace moesim {

namespace detail {

template <class T>
class FieldDecoder {
 public:
  FieldDecoder(const Cursor& cursor, T& out) : cursor_(cursor), out_(out) {}

  void tag(const char* name, std::string_view constant) {
    known_.push_back(name);
    if (!cursor_.value().contains(name)) {
      good_ = cursor_.fail(fmt::format("expected the key \"{}\": \"{}\", found none", name, constant));
      return;
    }
    const Cursor member = cursor_.member(name);
    if (!member.value().is_string() || member.value().template get_ref<const std::string&>() != constant) {
      good_ = member.expected(fmt::format("\"{}\"", constant));
    }
  }
  template <class M>
  void required(const char* name, M T::* member, std::string_view, const Rules& rules = {}) {
    known_.push_back(name);
    if (!cursor_.value().contains(name)) {
      good_ = cursor_.fail(fmt::format("expected the key \"{}\", found none", name));
      return;
    }
    good_ = Codec<M>::decode(cursor_.member(name), rules, out_.*member) && good_;
  }
  template <class M>
  void optional(const char* name, M T::* member, std::string_view, const Rules& rules = {}) {
    known_.push_back(name);
    if (cursor_.value().contains(name)) {
      good_ = Codec<M>::decode(cursor_.member(name), rules, out_.*member) && good_;
    }
  }

  bool finish() {
    for (const auto& [key, unused] : cursor_.value().items()) {
      if (std::find(known_.begin(), known_.end(), key) == known_.end()) {
        good_ = cursor_.fail(fmt::format("expected a known key, found \"{}\"{}", key, suggestion(key, known_)));
      }
    }
    return good_;
  }

 private:
  const Cursor& cursor_;
  T& out_;
  std::vector<std::string_view> known_;
  bool good_ = true;
};

template <class T>
class FieldEncoder {
 public:
  explicit FieldEncoder(const T& value) : value_(value) {}

  void tag(const char* name, std::string_view constant) { json[name] = std::string(constant); }
  template <class M>
  void required(const char* name, M T::* member, std::string_view, const Rules& = {}) {
    json[name] = Codec<M>::encode(value_.*member);
  }
  template <class M>
  void optional(const char* name, M T::* member, std::string_view, const Rules& = {}) {
    Json encoded = Codec<M>::encode(value_.*member);
    if (!encoded.is_null()) {
      json[name] = std::move(encoded);
    }
  }

  Json json = Json::object();

 private:
  const T& value_;
};

template <class T>
class FieldSchema {
 public:
  void tag(const char* name, std::string_view constant) {
    properties[name] = {{"const", std::string(constant)}};
    required_names.push_back(name);
  }
  template <class M>
  void required(const char* name, M T::*, std::string_view doc, const Rules& rules = {}) {
    add<M>(name, doc, rules);
    required_names.push_back(name);
  }
  template <class M>
  void optional(const char* name, M T::* member, std::string_view doc, const Rules& rules = {}) {
    add<M>(name, doc, rules);
    Json fallback = Codec<M>::encode(T{}.*member);
    if (!fallback.is_null()) {
      properties[name]["default"] = std::move(fallback);
    }
  }

  Json properties = Json::object();
  Json required_names = Json::array();

 private:
  template <class M>
  void add(const char* name, std::string_view doc, const Rules& rules) {
    Json schema = Codec<M>::schema(rules);
    const std::string inner = schema.value("description", "");
    schema["description"] = inner.empty() ? std::string(doc) : fmt::format("{} ({})", doc, inner);
    properties[name] = std::move(schema);
  }
};

}  // namespace detail

template <class T>
concept Described = requires(detail::FieldSchema<T>& f) { T::describe(f); };

template <Described T>
struct Codec<T> {
  static bool decode(const Cursor& cursor, const Rules&, T& out) {
    if (!cursor.value().is_object()) {
      return cursor.expected("an object");
    }
    detail::FieldDecoder<T> fields(cursor, out);
    T::describe(fields);
    return fields.finish();
  }
  static Json encode(const T& value) {
    detail::FieldEncoder<T> fields(value);
    T::describe(fields);
    return std::move(fields.json);
  }
  static Json schema(const Rules&) {
    detail::FieldSchema<T> fields;
    T::describe(fields);
    Json schema = {{"type", "object"}, {"properties", std::move(fields.properties)}};
    if (!fields.required_names.empty()) {
      schema["required"] = std::move(fields.required_names);
    }
    schema["additionalProperties"] = false;
    if constexpr (requires { T::kDoc; }) {
      schema["description"] = std::string(T::kDoc);
    }
    return schema;
  }
};

/// Decodes a whole document. Throws ConfigError with all faults.
template <class T>
T decode_document(const Document& document) {
  std::vector<Diagnostic> faults;
  T out{};
  Codec<T>::decode(Cursor(document, faults), {}, out);
  if (!faults.empty()) {
    throw ConfigError(std::move(faults));
  }
  return out;
}

/// The JSON Schema of a kind of file.
template <class T>
Json document_schema(std::string_view title) {
  Json schema = {{"$schema", "http://json-schema.org/draft-07/schema#"}, {"title", std::string(title)}};
  schema.update(Codec<T>::schema({}));
  return schema;
}

}  // namespace moesim
