// parse_quantity, with every table: what is accepted is finite, not negative, written and read back to the same
// double, and printed.
#include <cmath>

#include "sim/core/units.hpp"
#include "tests/fuzz/harness.hpp"

using namespace moesim;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  for (const UnitTable* table :
       {&unit_table<Duration>(), &unit_table<Bytes>(), &unit_table<Bandwidth>(), &unit_table<Flops>(),
        &unit_table<FlopRate>(), &unit_table<Price>(), &unit_table<PriceRate>()}) {
    std::string message;
    const auto value = parse_quantity(text, *table, message);
    fuzz::require(value.has_value() == message.empty(), "a value or a message");
    if (!value) {
      continue;
    }
    fuzz::require(std::isfinite(*value) && *value >= 0.0, "a finite value, not negative");
    fuzz::require(!format_quantity(*value, *table).empty(), "a printed value");
    if (*value == 0.0 || (*value >= 1e-99 && *value < 1e99)) {
      const auto back = parse_quantity(write_quantity(*value, *table), *table, message);
      fuzz::require(back == value, "the same value the second time");
    }
  }
  return 0;
}
