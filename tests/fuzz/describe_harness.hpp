#pragma once

#include <string>
#include <string_view>

#include "sim/config/codec.hpp"
#include "sim/config/decode.hpp"
#include "sim/core/error.hpp"
#include "tests/fuzz/harness.hpp"

namespace moesim::fuzz {

/// Decodes a text as T. What is accepted has to come back from its own encoding: decode → encode → decode → encode
/// gives the same text twice.
template <class T>
T decode_and_back(std::string_view text) {
  T value = decode_document<T>(Document::parse("input", text));
  const std::string encoded = Codec<T>::encode(value).dump();
  try {
    const T again = decode_document<T>(Document::parse("encoded", encoded));
    require(Codec<T>::encode(again).dump() == encoded, "the same encoding the second time");
  } catch (const ConfigError& error) {
    std::fprintf(stderr, "%s\n%s\n", encoded.c_str(), error.what());
    require(false, "an encoding that is decoded");
  }
  return value;
}

}  // namespace moesim::fuzz
