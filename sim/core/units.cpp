#include "sim/core/units.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <vector>

#include "sim/core/error.hpp"
#include "sim/core/suggest.hpp"

namespace moesim {

namespace {

constexpr double kKi = 1024.0;
constexpr double kMi = kKi * kKi;
constexpr double kGi = kMi * kKi;
constexpr double kTi = kGi * kKi;

constexpr std::array kTimeUnits{Unit{"ps", 1.0, 1e12}, Unit{"ns", 1.0, 1e9}, Unit{"us", 1.0, 1e6}, Unit{"ms", 1.0, 1e3},
                                Unit{"s", 1.0},        Unit{"min", 60.0},    Unit{"h", 3600.0}};
constexpr std::array kByteUnits{Unit{"B", 1.0},   Unit{"kB", 1e3},  Unit{"MB", 1e6},  Unit{"GB", 1e9},
                                Unit{"TB", 1e12}, Unit{"PB", 1e15}, Unit{"KiB", kKi}, Unit{"MiB", kMi},
                                Unit{"GiB", kGi}, Unit{"TiB", kTi}};
constexpr std::array kBandwidthUnits{
    Unit{"B/s", 1.0},      Unit{"kB/s", 1e3},     Unit{"MB/s", 1e6},     Unit{"GB/s", 1e9},     Unit{"TB/s", 1e12},
    Unit{"KiB/s", kKi},    Unit{"MiB/s", kMi},    Unit{"GiB/s", kGi},    Unit{"TiB/s", kTi},    Unit{"b/s", 1.0 / 8},
    Unit{"kb/s", 1e3 / 8}, Unit{"Mb/s", 1e6 / 8}, Unit{"Gb/s", 1e9 / 8}, Unit{"Tb/s", 1e12 / 8}};
constexpr std::array kFlopUnits{Unit{"FLOP", 1.0},   Unit{"kFLOP", 1e3},  Unit{"MFLOP", 1e6}, Unit{"GFLOP", 1e9},
                                Unit{"TFLOP", 1e12}, Unit{"PFLOP", 1e15}, Unit{"EFLOP", 1e18}};
constexpr std::array kFlopRateUnits{Unit{"FLOP/s", 1.0},  Unit{"kFLOP/s", 1e3},  Unit{"MFLOP/s", 1e6},
                                    Unit{"GFLOP/s", 1e9}, Unit{"TFLOP/s", 1e12}, Unit{"PFLOP/s", 1e15},
                                    Unit{"EFLOP/s", 1e18}};
constexpr std::array kPriceUnits{Unit{"USD", 1.0}};
constexpr std::array kPriceRateUnits{Unit{"USD/h", 1.0, 3600.0}, Unit{"USD/s", 1.0}};

constexpr std::size_t kMaxDigits = 20;  // 17 significant digits tell any two doubles apart
constexpr std::size_t kMaxExponentDigits = 2;

std::size_t digits_at(std::string_view text, std::size_t from) {
  std::size_t end = from;
  while (end < text.size() && text[end] >= '0' && text[end] <= '9') {
    ++end;
  }
  return end - from;
}

/// Length of the number that `text` starts with, 0 if it does not start with one of the documented form.
std::size_t number_length(std::string_view text) {
  const std::size_t whole = digits_at(text, 0);
  if (whole == 0 || whole > kMaxDigits) {
    return 0;
  }
  std::size_t end = whole;
  if (end < text.size() && text[end] == '.') {
    const std::size_t fraction = digits_at(text, end + 1);
    if (fraction == 0 || fraction > kMaxDigits) {
      return 0;
    }
    end += 1 + fraction;
  }
  if (end < text.size() && (text[end] == 'e' || text[end] == 'E')) {
    std::size_t from = end + 1;
    if (from < text.size() && (text[from] == '+' || text[from] == '-')) {
      ++from;
    }
    const std::size_t exponent = digits_at(text, from);
    if (exponent > kMaxExponentDigits) {
      return 0;
    }
    if (exponent > 0) {  // otherwise the letter belongs to the unit
      end = from + exponent;
    }
  }
  return end;
}

std::string expected_but(const UnitTable& table, std::string_view text) {
  return fmt::format("expected {} such as \"{}\", found \"{}\"", table.noun, table.example, text);
}

}  // namespace

template <>
const UnitTable& unit_table<Duration>() {
  static constexpr UnitTable table{"a time", "2.5 us", kTimeUnits, 5};
  return table;
}
template <>
const UnitTable& unit_table<Bytes>() {
  static constexpr UnitTable table{"an amount of data", "141 GB", kByteUnits, 6};
  return table;
}
template <>
const UnitTable& unit_table<Bandwidth>() {
  static constexpr UnitTable table{"a bandwidth", "450 GB/s", kBandwidthUnits, 5};
  return table;
}
template <>
const UnitTable& unit_table<Flops>() {
  static constexpr UnitTable table{"an amount of work", "12 GFLOP", kFlopUnits, 7};
  return table;
}
template <>
const UnitTable& unit_table<FlopRate>() {
  static constexpr UnitTable table{"a compute rate", "989 TFLOP/s", kFlopRateUnits, 7};
  return table;
}
template <>
const UnitTable& unit_table<Price>() {
  static constexpr UnitTable table{"a price", "2.5 USD", kPriceUnits, 1};
  return table;
}
template <>
const UnitTable& unit_table<PriceRate>() {
  static constexpr UnitTable table{"a price per time", "2.5 USD/h", kPriceRateUnits, 1};
  return table;
}

std::optional<double> parse_quantity(std::string_view text, const UnitTable& table, std::string& message) {
  const std::size_t length = number_length(text);
  if (length == 0) {
    message = expected_but(table, text);
    return std::nullopt;
  }
  double number = 0.0;
  std::from_chars(text.data(), text.data() + length, number);
  std::string_view symbol = text.substr(length);
  if (symbol.starts_with(' ')) {
    symbol.remove_prefix(1);
  }
  for (const Unit& unit : table.units) {
    if (unit.symbol == symbol) {
      return unit.to_base(number);
    }
  }
  std::vector<std::string_view> symbols;
  for (const Unit& unit : table.units) {
    symbols.push_back(unit.symbol);
  }
  message = expected_but(table, text) + did_you_mean(symbol, symbols);
  return std::nullopt;
}

std::string quantity_pattern(const UnitTable& table, bool positive) {
  std::string symbols;
  for (const Unit& unit : table.units) {
    symbols += symbols.empty() ? "" : "|";
    symbols += unit.symbol;
  }
  return fmt::format("^{}[0-9]{{1,{}}}(\\.[0-9]{{1,{}}})?([eE][+-]?[0-9]{{1,{}}})? ?({})$",
                     positive ? "(?=[0.]*[1-9])" : "", kMaxDigits, kMaxDigits, kMaxExponentDigits, symbols);
}

std::string format_quantity(double base, const UnitTable& table) {
  const Unit* best = &table.units.front();
  for (const Unit& unit : table.units.first(table.printable)) {
    if (std::abs(base) >= unit.to_base(0.99995)) {
      best = &unit;
    }
  }
  const double value = best->from_base(base);
  const double magnitude = std::abs(value);
  const int decimals = magnitude >= 999.95 ? 0 : magnitude >= 99.995 ? 1 : magnitude >= 9.9995 ? 2 : 3;
  std::string number = fmt::format("{:.{}f}", value, decimals);
  if (decimals > 0) {  // "2.500" says no more than "2.5"
    number.erase(number.find_last_not_of('0') + 1);
    if (number.back() == '.') {
      number.pop_back();
    }
  }
  return number + ' ' + std::string(best->symbol);
}

std::string write_quantity(double base, const UnitTable& table) {
  std::string shortest;
  for (const Unit& unit : table.units.first(table.printable)) {
    std::string text = fmt::format("{} {}", unit.from_base(base), unit.symbol);
    std::string unused;
    const auto back = parse_quantity(text, table, unused);
    if (back && *back == base && (shortest.empty() || text.size() <= shortest.size())) {
      shortest = std::move(text);
    }
  }
  if (!shortest.empty()) {
    return shortest;
  }
  // A computed value that no division by a unit's factor gives back: 17 significant digits of base units.
  const auto is_base = [](const Unit& unit) { return unit.to_base(1.0) == 1.0; };
  const auto unit = std::find_if(table.units.begin(), table.units.end(), is_base);
  ensure(unit != table.units.end(), "a unit table without its base unit");
  return fmt::format("{:.16e} {}", base, unit->symbol);
}

}  // namespace moesim
