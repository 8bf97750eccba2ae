#pragma once

#include <compare>
#include <cstdint>

#include "sim/core/quantity.hpp"

namespace moesim {

/// Simulated time: whole picoseconds since the start, also used for differences. Exact addition and a total order
/// are what make runs repeatable; physics happens in Duration (double) and enters through round_to_ticks alone.
class SimTime {
 public:
  constexpr SimTime() = default;
  [[nodiscard]] static constexpr SimTime from_ticks(std::int64_t picoseconds) {
    SimTime time;
    time.ticks_ = picoseconds;
    return time;
  }
  /// After every time that round_to_ticks can give.
  [[nodiscard]] static constexpr SimTime never() { return from_ticks(INT64_MAX); }

  [[nodiscard]] constexpr std::int64_t ticks() const { return ticks_; }
  [[nodiscard]] constexpr Duration duration() const { return seconds(static_cast<double>(ticks_) / 1e12); }

  constexpr auto operator<=>(const SimTime&) const = default;
  constexpr SimTime& operator+=(SimTime other) {
    ticks_ += other.ticks_;
    return *this;
  }
  constexpr SimTime& operator-=(SimTime other) {
    ticks_ -= other.ticks_;
    return *this;
  }
  friend constexpr SimTime operator+(SimTime a, SimTime b) { return a += b; }
  friend constexpr SimTime operator-(SimTime a, SimTime b) { return a -= b; }

 private:
  std::int64_t ticks_ = 0;
};

/// The only rounding of physical time to ticks: to the nearest picosecond, halves away from zero.
/// Throws ModelError for a negative or non-finite duration, or one above 2^60 ps (13 days).
SimTime round_to_ticks(Duration duration);

}  // namespace moesim
