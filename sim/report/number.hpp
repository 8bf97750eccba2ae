#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace moesim {

/// 1234567 → "1,234,567".
std::string grouped(std::int64_t value);
/// A count with about three digits and a suffix: "671 B", "37.6 B", "1.57 T"; below a thousand as it is.
std::string short_count(double value);
/// 0.1234 → "12.3 %".
std::string percent(double fraction);

}  // namespace moesim
