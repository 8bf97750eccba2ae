#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>

#include "sim/core/error.hpp"

/// What the fuzz targets share. Input may be refused with ConfigError or ModelError, nothing else: any other
/// exception, a crash, a sanitizer's complaint or a false require() is a fault.
namespace moesim::fuzz {

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

inline std::span<const std::byte> bytes_of(const std::uint8_t* data, std::size_t size) {
  return std::as_bytes(std::span(data, size));
}

inline void require(bool condition, const char* what) {
  if (!condition) {
    std::fprintf(stderr, "expected: %s\n", what);
    std::abort();
  }
}

/// Runs `action` on input that it may refuse.
template <class Action>
void may_refuse(const Action& action) {
  try {
    action();
  } catch (const ConfigError& error) {
    require(!error.diagnostics().empty() && *error.what() != '\0', "an error that says something");
  } catch (const ModelError& error) {
    require(*error.what() != '\0', "an error that says something");
  }
}

}  // namespace moesim::fuzz
