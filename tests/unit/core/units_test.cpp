#include "sim/core/units.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <regex>
#include <set>

#include "sim/core/random.hpp"

using namespace moesim;

namespace {

std::vector<const UnitTable*> all_tables() {
  return {&unit_table<Duration>(), &unit_table<Bytes>(), &unit_table<Bandwidth>(), &unit_table<Flops>(),
          &unit_table<FlopRate>(), &unit_table<Price>(), &unit_table<PriceRate>()};
}

std::optional<double> parse(std::string_view text, const UnitTable& table) {
  std::string message;
  const auto value = parse_quantity(text, table, message);
  CHECK(value.has_value() == message.empty());
  return value;
}

template <class Q>
std::string fault_of(std::string_view text) {
  std::string message;
  CHECK_FALSE(parse_quantity(text, unit_table<Q>(), message).has_value());
  return message;
}

/// A factor as the prefixes and dimensions of the symbol say it, from the definitions of SI and IEC 80000-13.
double factor_by_definition(std::string symbol) {
  static const std::map<std::string, double> kWhole{{"min", 60},  {"h", 3600},           {"s", 1},      {"USD", 1},
                                                    {"USD/s", 1}, {"USD/h", 1.0 / 3600}, {"ps", 1e-12}, {"ns", 1e-9},
                                                    {"us", 1e-6}, {"ms", 1e-3}};
  if (const auto found = kWhole.find(symbol); found != kWhole.end()) {
    return found->second;
  }
  if (symbol.ends_with("/s")) {
    symbol.resize(symbol.size() - 2);
  }
  double unit = 1.0;
  if (symbol.ends_with("FLOP")) {
    symbol.resize(symbol.size() - 4);
  } else {
    unit = symbol.back() == 'b' ? 0.125 : 1.0;
    symbol.pop_back();
  }
  static const std::map<std::string, double> kPrefixes{{"", 1},        {"k", 1e3},     {"M", 1e6},
                                                       {"G", 1e9},     {"T", 1e12},    {"P", 1e15},
                                                       {"E", 1e18},    {"Ki", 1024.0}, {"Mi", 1024.0 * 1024},
                                                       {"Gi", 0x1p30}, {"Ti", 0x1p40}};
  return kPrefixes.at(symbol) * unit;
}

}  // namespace

TEST_CASE("every unit of every table means what its symbol says") {
  for (const UnitTable* table : all_tables()) {
    for (const Unit& unit : table->units) {
      CAPTURE(unit.symbol);
      CHECK(unit.to_base(1.0) == Approx(factor_by_definition(std::string(unit.symbol))).epsilon(1e-15));
      const std::string text = "3 " + std::string(unit.symbol);
      CHECK(parse(text, *table) == unit.to_base(3));
      CHECK(parse("3" + std::string(unit.symbol), *table) == unit.to_base(3));
      CHECK(parse("2.5e1 " + std::string(unit.symbol), *table) == unit.to_base(25));
    }
    CHECK(parse(table->example, *table).has_value());
  }
}

TEST_CASE("tables have each symbol once, a base unit, and the printable ones in rising order") {
  for (const UnitTable* table : all_tables()) {
    CAPTURE(table->noun);
    std::set<std::string_view> symbols;
    bool base = false;
    for (const Unit& unit : table->units) {
      CHECK(symbols.insert(unit.symbol).second);
      base = base || unit.to_base(1.0) == 1.0;
    }
    CHECK(base);
    REQUIRE(table->printable >= 1);
    REQUIRE(table->printable <= table->units.size());
    for (std::size_t i = 1; i < table->printable; ++i) {
      CHECK(table->units[i - 1].to_base(1.0) < table->units[i].to_base(1.0));
    }
  }
}

TEST_CASE("a quantity is the double that the same number has in C++") {
  // Division by an exact power of ten rounds once; a product with 1e-6, itself rounded, would round twice.
  const UnitTable& time = unit_table<Duration>();
  CHECK(parse("2.5 us", time) == 2.5e-6);
  CHECK(parse("3 ns", time) == 3e-9);
  CHECK(parse("7 ps", time) == 7e-12);
  CHECK(parse("35 ms", time) == 35e-3);
  CHECK(parse("3.35 TB/s", unit_table<Bandwidth>()) == 3.35e12);
  CHECK(parse("2.5 USD/h", unit_table<PriceRate>()) == 2.5 / 3600);
}

TEST_CASE("decimal, binary and bit units are told apart") {
  const UnitTable& data = unit_table<Bytes>();
  CHECK(parse("1 GB", data) == 1e9);
  CHECK(parse("1 GiB", data) == 1073741824.0);
  CHECK(parse("1 kB", data) == 1000.0);
  CHECK(parse("1 KiB", data) == 1024.0);
  CHECK_FALSE(parse("1 Gb", data).has_value());
  const UnitTable& rate = unit_table<Bandwidth>();
  CHECK(parse("400 Gb/s", rate) == 50e9);
  CHECK(parse("400 GB/s", rate) == 400e9);
  CHECK(parse("1 GiB/s", rate) == 0x1p30);
  CHECK_FALSE(parse("400 Gbps", rate).has_value());
  CHECK_FALSE(parse("400 gb/s", rate).has_value());
}

TEST_CASE("what is no quantity is refused with what was expected and found") {
  CHECK(fault_of<Bandwidth>("450 GB") == "expected a bandwidth such as \"450 GB/s\", found \"450 GB\"");
  CHECK(fault_of<Bandwidth>("450 Gbs") ==
        "expected a bandwidth such as \"450 GB/s\", found \"450 Gbs\"; did you mean \"GB/s\"?");
  CHECK(fault_of<Duration>("5 sec") == "expected a time such as \"2.5 us\", found \"5 sec\"");
  CHECK(fault_of<Duration>("5") == "expected a time such as \"2.5 us\", found \"5\"");
  CHECK(fault_of<Duration>("") == "expected a time such as \"2.5 us\", found \"\"");
  CHECK(fault_of<Bytes>("141 gb") ==
        "expected an amount of data such as \"141 GB\", found \"141 gb\"; did you mean \"GB\"?");
  CHECK(fault_of<Flops>("1 TFLOPS") ==
        "expected an amount of work such as \"12 GFLOP\", found \"1 TFLOPS\"; did you mean \"TFLOP\"?");
  CHECK(fault_of<FlopRate>("989 TFLOPS") ==
        "expected a compute rate such as \"989 TFLOP/s\", found \"989 TFLOPS\"; did you mean \"TFLOP/s\"?");
  CHECK(fault_of<Price>("2 EUR") == "expected a price such as \"2.5 USD\", found \"2 EUR\"");
  CHECK(fault_of<PriceRate>("2 USD/d") ==
        "expected a price per time such as \"2.5 USD/h\", found \"2 USD/d\"; did you mean \"USD/h\"?");
}

TEST_CASE("the grammar of numbers has edges") {
  const UnitTable& table = unit_table<Bytes>();
  for (const std::string_view good : {"0 B", "1B", "1.5 B", "1e3 B", "1E3B", "1e+3 B", "1e-3 B", "1e99 B", "007 B",
                                      "12345678901234567890 B", "0.12345678901234567890 B"}) {
    CAPTURE(good);
    CHECK(parse(good, table).has_value());
  }
  for (const std::string_view bad : {"-1 B",
                                     "+1 B",
                                     " 1 B",
                                     "1  B",
                                     "1 B ",
                                     "1. B",
                                     ".5 B",
                                     "1,5 B",
                                     "1e100 B",
                                     "1e B",
                                     "0x10 B",
                                     "inf B",
                                     "nan B",
                                     "1\tB",
                                     "1 ",
                                     "B",
                                     "123456789012345678901 B",
                                     "0.123456789012345678901 B",
                                     "1 B/s",
                                     "1 b"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse(bad, table).has_value());
  }
  CHECK(parse("1EFLOP", unit_table<Flops>()) == 1e18);  // the E is the unit's, not an exponent
  CHECK(parse("1e2EFLOP", unit_table<Flops>()) == 1e20);
}

TEST_CASE("the schema's pattern accepts just what the parser accepts") {
  // Random texts over the alphabet of quantities, and valid ones with one character changed: near the grammar's edge.
  RandomStream random(7, "pattern");
  constexpr std::string_view kAlphabet = "0123456789..eE+- BkMGTPKib/sFLOPuUSDhmn";
  for (const UnitTable* table : all_tables()) {
    const std::regex any(quantity_pattern(*table, false));
    const std::regex positive(quantity_pattern(*table, true));
    int accepted = 0;
    for (int i = 0; i < 4000; ++i) {
      const Unit& unit = table->units[random.below(table->units.size())];
      std::string text = std::to_string(random.below(1000)) + (random.below(2) != 0 ? ".50" : "") +
                         (random.below(3) == 0 ? "e-0" : "") + (random.below(2) != 0 ? " " : "") +
                         std::string(unit.symbol);
      if (random.below(8) == 0) {
        text = "0.0" + std::string(unit.symbol);
      }
      for (std::uint64_t change = random.below(3); change > 0; --change) {
        text[random.below(text.size())] = kAlphabet[random.below(kAlphabet.size())];
      }
      CAPTURE(text);
      const auto value = parse(text, *table);
      accepted += value ? 1 : 0;
      REQUIRE(std::regex_search(text, any) == value.has_value());
      REQUIRE(std::regex_search(text, positive) == (value.has_value() && *value > 0.0));
    }
    CHECK(accepted > 400);
    CHECK(accepted < 3600);
  }
}

TEST_CASE("written quantities are read back as the same double") {
  RandomStream random(3, "round trip");
  for (const UnitTable* table : all_tables()) {
    for (int i = 0; i < 4000; ++i) {
      // Log-uniform over 1e-15 to 1e25, every other one with few digits as people write them.
      double value = std::pow(10.0, random.uniform() * 40.0 - 15.0);
      if (i % 2 == 0) {
        const double step = std::pow(10.0, std::floor(std::log10(value)) - 2);
        value = std::round(value / step) * step;
      }
      const std::string text = write_quantity(value, *table);
      CAPTURE(text, value);
      REQUIRE(parse(text, *table) == value);
    }
    for (const double edge : {0.0, 1e-99, 1e99, std::numeric_limits<double>::min() * 1e250, 1.0 / 3.0, 0.1 + 0.2}) {
      const std::string text = write_quantity(edge, *table);
      CAPTURE(text, edge);
      CHECK(parse(text, *table) == edge);
    }
  }
}

TEST_CASE("written quantities are short") {
  CHECK(write_quantity(450e9, unit_table<Bandwidth>()) == "450 GB/s");
  CHECK(write_quantity(50e9, unit_table<Bandwidth>()) == "50 GB/s");
  CHECK(write_quantity(2.5e-6, unit_table<Duration>()) == "2.5 us");
  CHECK(write_quantity(141e9, unit_table<Bytes>()) == "141 GB");
  CHECK(write_quantity(0.0, unit_table<Bytes>()) == "0 B");
  CHECK(write_quantity(2.5 / 3600, unit_table<PriceRate>()) == "2.5 USD/h");
}

TEST_CASE("printed quantities have about four digits in the unit that suits") {
  CHECK(to_text(seconds(0.03421)) == "34.21 ms");
  CHECK(to_text(seconds(1.0)) == "1 s");
  CHECK(to_text(seconds(0.0)) == "0 ps");
  CHECK(to_text(seconds(-0.0025)) == "-2.5 ms");
  CHECK(to_text(seconds(90.0)) == "90 s");  // minutes and hours are only read
  CHECK(to_text(bytes(999.94)) == "999.9 B");
  CHECK(to_text(bytes(999.96)) == "1 kB");  // would round to 1000 B
  CHECK(to_text(bytes(141e9)) == "141 GB");
  CHECK(to_text(bytes(0x1p30)) == "1.074 GB");
  CHECK(to_text(bytes(5e18)) == "5000 PB");
  CHECK(to_text(bytes_per_second(3.35e12)) == "3.35 TB/s");
  CHECK(to_text(flops_per_second(989.4e12)) == "989.4 TFLOP/s");
  CHECK(to_text(seconds(9.9994e-3)) == "9.999 ms");
  CHECK(to_text(seconds(9.9996e-3)) == "10 ms");
}

TEST_CASE("printed quantities are within five in ten thousand of the value") {
  RandomStream random(5, "print");
  for (const UnitTable* table : all_tables()) {
    for (int i = 0; i < 1000; ++i) {
      const double value = table->units.front().to_base(1.0) * std::pow(10.0, random.uniform() * 12.0);
      const std::string text = format_quantity(value, *table);
      CAPTURE(text);
      const auto back = parse(text, *table);
      REQUIRE(back.has_value());
      CHECK(*back == Approx(value).epsilon(5.1e-4));
    }
  }
}
