#pragma once

#include <cstdint>

#include "sim/core/time.hpp"

namespace moesim::test {

inline constexpr std::int64_t kSecond = 1'000'000'000'000;

inline SimTime at(std::int64_t ticks) { return SimTime::from_ticks(ticks); }

}  // namespace moesim::test
