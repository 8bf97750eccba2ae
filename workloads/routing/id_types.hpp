#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "sim/core/error.hpp"
#include "workloads/routing/npy.hpp"

/// How ids of any integer type are read.
namespace moesim::ids {

/// The `index`-th of numbers of type T that lie unaligned.
template <class T>
[[gnu::always_inline]] inline T load(const std::byte* data, std::size_t index) {
  T value;
  std::memcpy(&value, data + index * sizeof(T), sizeof(T));
  return value;
}

/// As int64; what does not fit is its largest value.
template <class T>
std::int64_t widened(T value) {
  if constexpr (std::is_same_v<T, std::uint64_t>) {
    constexpr auto kLargest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    return static_cast<std::int64_t>(std::min(value, kLargest));
  } else {
    return static_cast<std::int64_t>(value);
  }
}

/// Calls `action` with a value of the C++ type that `type` names.
template <class Action>
auto with_type(NpyType type, const Action& action) {
  switch (type) {
    case NpyType::kUint8:
      return action(std::uint8_t{});
    case NpyType::kInt8:
      return action(std::int8_t{});
    case NpyType::kUint16:
      return action(std::uint16_t{});
    case NpyType::kInt16:
      return action(std::int16_t{});
    case NpyType::kUint32:
      return action(std::uint32_t{});
    case NpyType::kInt32:
      return action(std::int32_t{});
    case NpyType::kUint64:
      return action(std::uint64_t{});
    case NpyType::kInt64:
      return action(std::int64_t{});
    case NpyType::kFloat32:
    case NpyType::kFloat64:
      break;
  }
  throw_internal("expert ids of a floating-point type", std::source_location::current());
}

/// Calls `action` with k as a constant where it is a common one, so that the loop over a row is unrolled.
template <class Action>
auto with_k(std::size_t k, const Action& action) {
  switch (k) {
    case 1:
      return action(std::integral_constant<std::size_t, 1>{});
    case 2:
      return action(std::integral_constant<std::size_t, 2>{});
    case 4:
      return action(std::integral_constant<std::size_t, 4>{});
    case 6:
      return action(std::integral_constant<std::size_t, 6>{});
    case 8:
      return action(std::integral_constant<std::size_t, 8>{});
    default:
      return action(k);
  }
}

}  // namespace moesim::ids
