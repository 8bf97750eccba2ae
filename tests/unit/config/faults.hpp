#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/config/codec.hpp"
#include "sim/config/decode.hpp"
#include "sim/core/error.hpp"

namespace moesim {

/// All faults of decoding `text` as T, one a line; empty when there are none. The document is called "d".
template <class T>
std::string faults_of(std::string_view text) {
  try {
    static_cast<void>(decode_document<T>(Document::parse("d", text)));
    return {};
  } catch (const ConfigError& error) {
    return error.what();
  }
}

/// All faults of decoding `text` by Codec<T> with `rules`.
template <class T>
std::string value_faults(std::string_view text, const Rules& rules = {}) {
  const Document document = Document::parse("d", text);
  std::vector<Diagnostic> faults;
  T out{};
  const bool good = Codec<T>::decode(Cursor(document, faults), rules, out);
  if (good != faults.empty()) {
    return "decode() does not say whether it noted faults";
  }
  return faults.empty() ? std::string() : ConfigError(std::move(faults)).what();
}

/// What Codec<T> makes of `text`, which is valid.
template <class T>
T value_of(std::string_view text, const Rules& rules = {}) {
  const Document document = Document::parse("d", text);
  std::vector<Diagnostic> faults;
  T out{};
  if (!Codec<T>::decode(Cursor(document, faults), rules, out)) {
    throw ConfigError(std::move(faults));
  }
  return out;
}

}  // namespace moesim
