#pragma once

#include <string_view>
#include <utility>
#include <vector>

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
///
/// Large structs are compiled once: `extern template struct DescribedCodec<T>;` below the struct, the same without
/// `extern` in one .cpp.
namespace moesim {

namespace detail {

// What does not depend on the struct stands in describe.cpp: these classes are instantiated for every field there is.

class FieldDecoderBase {
 public:
  explicit FieldDecoderBase(const Cursor& cursor) : cursor_(cursor) {}

  void tag(const char* name, std::string_view constant);
  /// False where a key that nobody described stands in the document, or a field was at fault.
  bool finish();

 protected:
  /// Both note the key as known; is it there?
  bool has_required(const char* name);
  bool has_optional(const char* name);

  const Cursor& cursor_;
  bool good_ = true;

 private:
  std::vector<std::string_view> known_;
};

template <class T>
class FieldDecoder : public FieldDecoderBase {
 public:
  FieldDecoder(const Cursor& cursor, T& out) : FieldDecoderBase(cursor), out_(out) {}

  template <class M>
  void required(const char* name, M T::* member, std::string_view, const Rules& rules = {}) {
    if (has_required(name)) {
      good_ = Codec<M>::decode(cursor_.member(name), rules, out_.*member) && good_;
    }
  }
  template <class M>
  void optional(const char* name, M T::* member, std::string_view, const Rules& rules = {}) {
    if (has_optional(name)) {
      good_ = Codec<M>::decode(cursor_.member(name), rules, out_.*member) && good_;
    }
  }

 private:
  T& out_;
};

class FieldEncoderBase {
 public:
  void tag(const char* name, std::string_view constant);
  Json take() { return std::move(json_); }

 protected:
  void put(const char* name, Json value);
  void put_if_present(const char* name, Json value);

 private:
  Json json_ = Json::object();
};

template <class T>
class FieldEncoder : public FieldEncoderBase {
 public:
  explicit FieldEncoder(const T& value) : value_(value) {}

  template <class M>
  void required(const char* name, M T::* member, std::string_view, const Rules& = {}) {
    put(name, Codec<M>::encode(value_.*member));
  }
  template <class M>
  void optional(const char* name, M T::* member, std::string_view, const Rules& = {}) {
    put_if_present(name, Codec<M>::encode(value_.*member));
  }

 private:
  const T& value_;
};

class FieldSchemaBase {
 public:
  void tag(const char* name, std::string_view constant);
  /// The object's schema; without a description where `doc` is empty.
  Json take(std::string_view doc);

 protected:
  void add_required(const char* name, std::string_view doc, Json schema);
  /// `fallback` is null where the field has none.
  void add_optional(const char* name, std::string_view doc, Json schema, Json fallback);

 private:
  void add(const char* name, std::string_view doc, Json schema);

  Json properties_ = Json::object();
  Json required_ = Json::array();
};

template <class T>
class FieldSchema : public FieldSchemaBase {
 public:
  template <class M>
  void required(const char* name, M T::*, std::string_view doc, const Rules& rules = {}) {
    add_required(name, doc, Codec<M>::schema(rules));
  }
  template <class M>
  void optional(const char* name, M T::* member, std::string_view doc, const Rules& rules = {}) {
    add_optional(name, doc, Codec<M>::schema(rules), Codec<M>::encode(defaults_.*member));
  }

 private:
  T defaults_{};
};

/// Throws ConfigError with the faults, if there are any.
void raise(std::vector<Diagnostic> faults);
Json titled_schema(std::string_view title, Json schema);

}  // namespace detail

template <class T>
concept Described = requires(detail::FieldSchema<T>& f) { T::describe(f); };

/// Not constrained, unlike Codec: GCC 12 instantiates nothing where several constrained specialisations are at hand.
template <class T>
struct DescribedCodec {
  static bool decode(const Cursor& cursor, const Rules& rules, T& out);
  static Json encode(const T& value);
  static Json schema(const Rules& rules);
};

// Outside the class, so as not to be inline: else `extern template` would not keep them from being compiled.
template <class T>
bool DescribedCodec<T>::decode(const Cursor& cursor, const Rules&, T& out) {
  if (!cursor.value().is_object()) {
    return cursor.expected("an object");
  }
  detail::FieldDecoder<T> fields(cursor, out);
  T::describe(fields);
  return fields.finish();
}

template <class T>
Json DescribedCodec<T>::encode(const T& value) {
  detail::FieldEncoder<T> fields(value);
  T::describe(fields);
  return fields.take();
}

template <class T>
Json DescribedCodec<T>::schema(const Rules&) {
  detail::FieldSchema<T> fields;
  T::describe(fields);
  if constexpr (requires { T::kDoc; }) {
    return fields.take(T::kDoc);
  } else {
    return fields.take({});
  }
}

template <Described T>
struct Codec<T> : DescribedCodec<T> {};

/// Decodes a whole document. Throws ConfigError with all faults.
template <class T>
T decode_document(const Document& document) {
  std::vector<Diagnostic> faults;
  T out{};
  Codec<T>::decode(Cursor(document, faults), {}, out);
  detail::raise(std::move(faults));
  return out;
}

/// The JSON Schema of a kind of file.
template <class T>
Json document_schema(std::string_view title) {
  return detail::titled_schema(title, Codec<T>::schema({}));
}

}  // namespace moesim
