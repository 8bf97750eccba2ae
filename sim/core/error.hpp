#pragma once

#include <source_location>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace moesim {

/// Where in the user's input something is wrong: a file (or option) and, in JSON, a pointer (RFC 6901).
struct Place {
  std::string file;
  std::string pointer;

  /// "file.json#/json/pointer"; without a pointer, "file.json".
  [[nodiscard]] std::string text() const;
};

/// The place at `pointer` ("/key/0") from there.
inline Place below(const Place& place, std::string_view pointer) {
  return {place.file, std::string(place.pointer).append(pointer)};
}

/// One thing that the user can mend: "place: what was expected, what was found".
struct Diagnostic {
  Place place;
  std::string message;

  [[nodiscard]] std::string text() const;
};

/// The user's input is wrong. Holds every fault that was found, not only the first. Exit code 2.
class ConfigError : public std::runtime_error {
 public:
  explicit ConfigError(std::vector<Diagnostic> diagnostics);
  ConfigError(Place place, std::string message);

  [[nodiscard]] const std::vector<Diagnostic>& diagnostics() const noexcept { return diagnostics_; }

 private:
  std::vector<Diagnostic> diagnostics_;
};

/// The input is well-formed, but asks for what the model cannot say anything true about:
/// outside its range of validity, or it does not fit. Exit code 2.
class ModelError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A fault of ours: a broken invariant. Exit code 3.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

/// Throws InternalError with file, line and `what`.
[[noreturn]] void throw_internal(std::string_view what, const std::source_location& where);

/// Throws InternalError naming the caller's place unless `condition` holds. Always on.
inline void ensure(bool condition, std::string_view what,
                   std::source_location where = std::source_location::current()) {
  if (condition) [[likely]] {
    return;
  }
  throw_internal(what, where);
}

}  // namespace moesim
