#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "sim/config/cursor.hpp"
#include "sim/config/describe.hpp"
#include "sim/core/suggest.hpp"
#include "sim/core/units.hpp"

/// The codecs of plain types, containers, enumerations, choices and described structs. For the .cpp files that compile
/// them; decode.hpp is enough to read a document.
namespace moesim {

namespace detail {

bool check_number(const Cursor& cursor, const Rules& rules, double value);
void number_rules(Json& schema, const Rules& rules);
bool decode_integer(const Cursor& cursor, const Rules& rules, std::int64_t low, std::int64_t high, std::int64_t& out);
bool decode_quantity(const Cursor& cursor, const Rules& rules, const UnitTable& table, double& out);
Json quantity_schema(const UnitTable& table, const Rules& rules);

using Names = std::vector<std::string_view>;
bool fail_choice(const Cursor& cursor, const Names& names);
bool fail_name(const Cursor& cursor, const Names& names, std::string_view found);
bool is_array_of(const Cursor& cursor, std::size_t min_items);
enum class BareName { kAllowed, kNot };
/// The only key of an object that is a choice among `tags`; null after noting a fault.
const std::string* only_key(const Cursor& cursor, const Names& tags, BareName bare);
bool fail_tag(const Cursor& cursor, const Names& tags, std::string_view found);

Json integer_schema(std::int64_t low, std::int64_t high, const Rules& rules);
Json names_schema(const Names& names);
Json array_schema(Json items, std::size_t min_items);
Json keyed_schema(const Names& keys, const Json& value);  ///< an object with some of these keys
Json open_schema(Json value);                             ///< an object with any keys
Json tagged_schema(std::string_view tag, Json value);     ///< an object with just this key
Json tagged(std::string_view tag, Json value);            ///< {tag: value}

template <NamedEnum E>
Names enum_names() {
  Names names;
  for (const auto& [value, name] : EnumNames<E>::names) {
    names.push_back(name);
  }
  return names;
}

template <NamedEnum E>
bool enum_from(const Cursor& cursor, std::string_view text, E& out) {
  for (const auto& [value, name] : EnumNames<E>::names) {
    if (name == text) {
      out = value;
      return true;
    }
  }
  return fail_name(cursor, enum_names<E>(), text);
}

}  // namespace detail

template <>
struct Codec<bool> {
  static bool decode(const Cursor& cursor, const Rules&, bool& out) {
    if (!cursor.value().is_boolean()) {
      return cursor.expected("true or false");
    }
    out = cursor.value().get<bool>();
    return true;
  }
  static Json encode(bool value) { return value; }
  static Json schema(const Rules&);
};

/// Any value, as it stands.
template <>
struct Codec<Json> {
  static bool decode(const Cursor& cursor, const Rules&, Json& out) {
    out = cursor.value();
    return true;
  }
  static Json encode(const Json& value) { return value; }
  static Json schema(const Rules&) { return Json::object(); }
};

/// Integers are strict: 3.0, true and anything out of range are faults, not rounded.
template <class T>
  requires(std::integral<T> && !std::same_as<T, bool>)
struct Codec<T> {
  static constexpr std::int64_t kLow = std::numeric_limits<T>::is_signed ? std::numeric_limits<T>::min() : 0;
  static constexpr std::int64_t kHigh = std::in_range<std::int64_t>(std::numeric_limits<T>::max())
                                            ? static_cast<std::int64_t>(std::numeric_limits<T>::max())
                                            : std::numeric_limits<std::int64_t>::max();

  static bool decode(const Cursor& cursor, const Rules& rules, T& out) {
    std::int64_t value = 0;
    if (!detail::decode_integer(cursor, rules, kLow, kHigh, value)) {
      return false;
    }
    out = static_cast<T>(value);
    return true;
  }
  static Json encode(T value) { return value; }
  static Json schema(const Rules& rules) { return detail::integer_schema(kLow, kHigh, rules); }
};

template <>
struct Codec<double> {
  static bool decode(const Cursor& cursor, const Rules& rules, double& out) {
    if (!cursor.value().is_number()) {
      return cursor.expected("a number");
    }
    out = cursor.value().get<double>();
    return detail::check_number(cursor, rules, out);
  }
  static Json encode(double value) { return value; }
  static Json schema(const Rules& rules);
};

template <>
struct Codec<std::string> {
  static bool decode(const Cursor& cursor, const Rules& rules, std::string& out);
  static Json encode(const std::string& value) { return value; }
  static Json schema(const Rules& rules);
};

template <>
struct Codec<FilePath> {
  static bool decode(const Cursor& cursor, const Rules& rules, FilePath& out);
  static Json encode(const FilePath& value) { return value.written; }
  static Json schema(const Rules&);
};

template <int T, int B, int F, int M>
struct Codec<Quantity<T, B, F, M>> {
  using Q = Quantity<T, B, F, M>;
  static bool decode(const Cursor& cursor, const Rules& rules, Q& out) {
    double base = 0.0;
    if (!detail::decode_quantity(cursor, rules, unit_table<Q>(), base)) {
      return false;
    }
    out = Q::from_base(base);
    return true;
  }
  static Json encode(Q value) { return write_quantity(value.base(), unit_table<Q>()); }
  static Json schema(const Rules& rules) { return detail::quantity_schema(unit_table<Q>(), rules); }
};

template <NamedEnum E>
struct Codec<E> {
  static bool decode(const Cursor& cursor, const Rules&, E& out) {
    if (!cursor.value().is_string()) {
      return detail::fail_choice(cursor, detail::enum_names<E>());
    }
    return detail::enum_from(cursor, cursor.value().get_ref<const std::string&>(), out);
  }
  static Json encode(E value) { return std::string(name_of(value)); }
  static Json schema(const Rules&) { return detail::names_schema(detail::enum_names<E>()); }
};

/// Present or absent; JSON null is not a way to say absent.
template <class T>
struct Codec<std::optional<T>> {
  static bool decode(const Cursor& cursor, const Rules& rules, std::optional<T>& out) {
    return Codec<T>::decode(cursor, rules, out.emplace());
  }
  static Json encode(const std::optional<T>& value) { return value ? Codec<T>::encode(*value) : Json(nullptr); }
  static Json schema(const Rules& rules) { return Codec<T>::schema(rules); }
};

/// min_items is for the array, the other rules for its elements.
template <class T>
struct Codec<std::vector<T>> {
  static bool decode(const Cursor& cursor, const Rules& rules, std::vector<T>& out) {
    if (!detail::is_array_of(cursor, rules.min_items)) {
      return false;
    }
    Rules element_rules = rules;
    element_rules.min_items = 0;
    out.clear();
    bool good = true;
    for (std::size_t i = 0; i < cursor.value().size(); ++i) {
      T element{};
      good = Codec<T>::decode(cursor.element(i), element_rules, element) && good;
      out.push_back(std::move(element));
    }
    return good;
  }
  static Json encode(const std::vector<T>& values) {
    Json json = Json::array();
    for (const auto& value : values) {
      json.push_back(Codec<T>::encode(value));
    }
    return json;
  }
  static Json schema(const Rules& rules) {
    Rules element_rules = rules;
    element_rules.min_items = 0;
    return detail::array_schema(Codec<T>::schema(element_rules), rules.min_items);
  }
};

/// An object whose keys are free text, or the names of an enumeration.
template <class K, class T>
struct Codec<std::map<K, T>> {
  static bool decode(const Cursor& cursor, const Rules& rules, std::map<K, T>& out) {
    if (!cursor.value().is_object()) {
      return cursor.expected("an object");
    }
    out.clear();
    bool good = true;
    for (const auto& [key, unused] : cursor.value().items()) {
      const Cursor member = cursor.member(key);
      K name{};
      if constexpr (NamedEnum<K>) {
        if (!detail::enum_from(member, key, name)) {
          good = false;
          continue;
        }
      } else {
        name = key;
      }
      good = Codec<T>::decode(member, rules, out[name]) && good;
    }
    return good;
  }
  static Json encode(const std::map<K, T>& values) {
    Json json = Json::object();
    for (const auto& [key, value] : values) {
      if constexpr (NamedEnum<K>) {
        json[std::string(name_of(key))] = Codec<T>::encode(value);
      } else {
        json[key] = Codec<T>::encode(value);
      }
    }
    return json;
  }
  static Json schema(const Rules& rules) {
    if constexpr (NamedEnum<K>) {
      return detail::keyed_schema(detail::enum_names<K>(), Codec<T>::schema(rules));
    } else {
      return detail::open_schema(Codec<T>::schema(rules));
    }
  }
};

/// A struct with a member `value` and `static constexpr bool kWrapper = true` stands in JSON as that value.
template <class T>
concept Wrapper = requires { requires T::kWrapper; };

template <Wrapper T>
struct Codec<T> {
  using Value = decltype(T::value);
  static bool decode(const Cursor& cursor, const Rules& rules, T& out) {
    return Codec<Value>::decode(cursor, rules, out.value);
  }
  static Json encode(const T& wrapper) { return Codec<Value>::encode(wrapper.value); }
  static Json schema(const Rules& rules) { return Codec<Value>::schema(rules); }
};

/// A choice: an object with exactly one key, `Alternative::kTag`, whose value is the alternative; an alternative
/// whose tag is empty stands as a bare string.
template <class... Alternatives>
struct Codec<std::variant<Alternatives...>> {
  using Choice = std::variant<Alternatives...>;
  static constexpr bool kHasBare = (Alternatives::kTag.empty() || ...);

  static bool decode(const Cursor& cursor, const Rules& rules, Choice& out) {
    detail::Names tags;
    ((Alternatives::kTag.empty() ? void() : tags.push_back(Alternatives::kTag)), ...);
    if (kHasBare && cursor.value().is_string()) {
      bool good = false;
      static_cast<void>(
          ((Alternatives::kTag.empty() && (good = decode_as<Alternatives>(cursor, rules, out), true)) || ...));
      return good;
    }
    const std::string* const key =
        detail::only_key(cursor, tags, kHasBare ? detail::BareName::kAllowed : detail::BareName::kNot);
    if (key == nullptr) {
      return false;
    }
    bool good = false;
    const bool known = ((!Alternatives::kTag.empty() && Alternatives::kTag == *key &&
                         (good = decode_as<Alternatives>(cursor.member(*key), rules, out), true)) ||
                        ...);
    return known ? good : detail::fail_tag(cursor, tags, *key);
  }
  static Json encode(const Choice& choice) {
    return std::visit(
        []<class A>(const A& alternative) -> Json {
          if constexpr (A::kTag.empty()) {
            return Codec<A>::encode(alternative);
          } else {
            return detail::tagged(A::kTag, Codec<A>::encode(alternative));
          }
        },
        choice);
  }
  static Json schema(const Rules& rules) {
    Json options = Json::array();
    (options.push_back(schema_of<Alternatives>(rules)), ...);
    return {{"oneOf", options}};
  }

 private:
  template <class A>
  static bool decode_as(const Cursor& cursor, const Rules& rules, Choice& out) {
    return Codec<A>::decode(cursor, rules, out.template emplace<A>());
  }
  template <class A>
  static Json schema_of(const Rules& rules) {
    if constexpr (A::kTag.empty()) {
      return Codec<A>::schema(rules);
    } else {
      return detail::tagged_schema(A::kTag, Codec<A>::schema(rules));
    }
  }
};

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

}  // namespace detail

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

}  // namespace moesim
