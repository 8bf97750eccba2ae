#include "sim/core/error.hpp"

#include <utility>

namespace moesim {

namespace {

std::string joined(const std::vector<Diagnostic>& diagnostics) {
  std::string text;
  for (const auto& diagnostic : diagnostics) {
    if (!text.empty()) {
      text += '\n';
    }
    text += diagnostic.text();
  }
  return text;
}

}  // namespace

std::string Place::text() const { return pointer.empty() ? file : file + '#' + pointer; }

std::string Diagnostic::text() const { return place.text() + ": " + message; }

ConfigError::ConfigError(std::vector<Diagnostic> diagnostics)
    : std::runtime_error(joined(diagnostics)), diagnostics_(std::move(diagnostics)) {}

ConfigError::ConfigError(Place place, std::string message)
    : ConfigError(std::vector{Diagnostic{std::move(place), std::move(message)}}) {}

void throw_internal(std::string_view what, const std::source_location& where) {
  throw InternalError(std::string(where.file_name()) + ':' + std::to_string(where.line()) + ": " + std::string(what));
}

}  // namespace moesim
