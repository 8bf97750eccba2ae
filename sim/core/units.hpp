#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "sim/core/quantity.hpp"

namespace moesim {

/// One unit of one dimension: `symbol` as written, worth factor / divisor base units. GB = 10^9 B, GiB = 2^30 B,
/// Gb = 10^9 bit. Both numbers are exact in double, so that "2.5 us" is the double nearest to 2.5e-6, as in C++.
struct Unit {
  std::string_view symbol;
  double factor;
  double divisor = 1.0;

  [[nodiscard]] constexpr double to_base(double number) const { return number * factor / divisor; }
  [[nodiscard]] constexpr double from_base(double base) const { return base / factor * divisor; }
};

/// What the table knows of a dimension: its name for messages, an example, and its units, smallest first. Units up
/// to `printable` are used when printing; the rest (binary and bit units) are only read.
struct UnitTable {
  std::string_view noun;     ///< "a bandwidth"
  std::string_view example;  ///< "450 GB/s"
  std::span<const Unit> units;
  std::size_t printable;
};

/// The one table of units: serves the parser, the printer, the JSON Schema and the tests.
template <class Q>
const UnitTable& unit_table();
template <>
const UnitTable& unit_table<Duration>();
template <>
const UnitTable& unit_table<Bytes>();
template <>
const UnitTable& unit_table<Bandwidth>();
template <>
const UnitTable& unit_table<Flops>();
template <>
const UnitTable& unit_table<FlopRate>();
template <>
const UnitTable& unit_table<Price>();
template <>
const UnitTable& unit_table<PriceRate>();

/// Reads "NUMBER UNIT" (one space or none): up to 20 digits before and after the point, an exponent of up to two
/// digits, no sign. Returns base units, or std::nullopt with `message` saying what was expected and found.
std::optional<double> parse_quantity(std::string_view text, const UnitTable& table, std::string& message);

/// A regular expression (ECMAScript) for what parse_quantity accepts; `positive` excludes zero.
std::string quantity_pattern(const UnitTable& table, bool positive);

/// For people: about four significant digits in the unit that suits, "34.21 ms".
std::string format_quantity(double base, const UnitTable& table);
/// For files: the shortest text that parse_quantity reads back as the same double, "450 GB/s". `base` is zero or
/// 1e-99 to 1e99.
std::string write_quantity(double base, const UnitTable& table);

template <class Q>
std::string to_text(Q quantity) {
  return format_quantity(quantity.base(), unit_table<Q>());
}

}  // namespace moesim
