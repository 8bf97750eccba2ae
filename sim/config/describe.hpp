#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>

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
/// This header is all that a described struct needs; it is kept light, since nearly every file sees it. What makes code
/// of a description is in codec.hpp: large structs are compiled once, by `extern template struct DescribedCodec<T>;`
/// below the struct and the same without `extern` in one .cpp.
namespace moesim {

using Json = nlohmann::ordered_json;
class Cursor;

/// Limits on a field's value; they stand in the schema too. Quantities know only `positive`.
struct Rules {
  double minimum = -std::numeric_limits<double>::infinity();
  double maximum = std::numeric_limits<double>::infinity();
  bool positive = false;      ///< greater than zero
  std::size_t min_items = 0;  ///< arrays: at least this many; strings: at least this many bytes

  static Rules above_zero() { return {.positive = true}; }
  static Rules at_least(double minimum) { return {.minimum = minimum}; }
  static Rules between(double minimum, double maximum) { return {.minimum = minimum, .maximum = maximum}; }
  static Rules not_empty() { return {.min_items = 1}; }
};

/// Specialise with `static constexpr auto names = std::to_array<std::pair<E, std::string_view>>({…})`.
template <class E>
struct EnumNames;

template <class E>
concept NamedEnum = requires { EnumNames<E>::names; };

template <NamedEnum E>
constexpr std::string_view name_of(E value) {
  for (const auto& [candidate, name] : EnumNames<E>::names) {
    if (candidate == value) {
      return name;
    }
  }
  return "?";
}

/// A path as the user wrote it, and where it leads: relative paths are looked up beside the document that names
/// them, then in the working directory.
struct FilePath {
  std::string written;
  std::filesystem::path resolved;
  bool operator==(const FilePath&) const = default;
};

/// How a C++ type stands in JSON:
///   bool decode(const Cursor&, const Rules&, T&)   false after noting at least one fault
///   Json encode(const T&)                          what decode reads back
///   Json schema(const Rules&)                      a JSON Schema (draft 7) that accepts just what decode does
template <class T>
struct Codec;

namespace detail {

/// What a description is written against, for the concept.
template <class T>
struct AnyFields {
  void tag(const char* name, std::string_view constant);
  template <class M>
  void required(const char* name, M T::* member, std::string_view doc, const Rules& rules = {});
  template <class M>
  void optional(const char* name, M T::* member, std::string_view doc, const Rules& rules = {});
};

}  // namespace detail

template <class T>
concept Described = requires(detail::AnyFields<T>& f) { T::describe(f); };

/// Not constrained, unlike Codec: GCC 12 instantiates nothing where several constrained specialisations are at hand.
template <class T>
struct DescribedCodec {
  static bool decode(const Cursor& cursor, const Rules& rules, T& out);
  static Json encode(const T& value);
  static Json schema(const Rules& rules);
};

template <Described T>
struct Codec<T> : DescribedCodec<T> {};

}  // namespace moesim
