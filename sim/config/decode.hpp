#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "sim/config/cursor.hpp"
#include "sim/config/describe.hpp"

namespace moesim {

namespace detail {

/// Throws ConfigError with the faults, if there are any.
void raise(std::vector<Diagnostic> faults);
Json titled_schema(std::string_view title, Json schema);

}  // namespace detail

/// Decodes a whole document. Throws ConfigError with all faults.
template <class T>
T decode_document(const Document& document) {
  std::vector<Diagnostic> faults;
  T out{};
  Codec<T>::decode(Cursor(document, faults), {}, out);
  detail::raise(std::move(faults));
  return out;
}

/// The JSON Schema of a kind of file.
template <class T>
Json document_schema(std::string_view title) {
  return detail::titled_schema(title, Codec<T>::schema({}));
}

}  // namespace moesim
