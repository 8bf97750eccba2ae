#include "sim/report/number.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <utility>

namespace moesim {

std::string grouped(std::int64_t value) {
  // The magnitude of the smallest number has no place in its own type.
  const auto magnitude = static_cast<std::uint64_t>(value);
  std::string digits = std::to_string(value < 0 ? 0 - magnitude : magnitude);
  for (std::size_t i = digits.size(); i > 3; i -= 3) {
    digits.insert(i - 3, 1, ',');
  }
  return fmt::format("{}{}", value < 0 ? "-" : "", digits);
}

std::string short_count(double value) {
  constexpr std::array<std::pair<double, std::string_view>, 4> kScales{
      {{1e12, " T"}, {1e9, " B"}, {1e6, " M"}, {1e3, " k"}}};
  for (const auto& [factor, suffix] : kScales) {
    const double scaled = value / factor;
    if (scaled >= 0.9995) {
      return fmt::format("{:.{}f}{}", scaled, scaled >= 99.95 ? 0 : scaled >= 9.995 ? 1 : 2, suffix);
    }
  }
  return fmt::format("{:.0f}", value);
}

std::string percent(double fraction) { return fmt::format("{:.1f} %", fraction * 100.0); }

}  // namespace moesim
