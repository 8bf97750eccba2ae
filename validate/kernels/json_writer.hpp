#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

/// JSON as far as a measurement needs it, so that the program builds with nothing but the CUDA Toolkit. Members keep
/// the order in which they were added.
namespace moesim::bench {

class Json {
 public:
  using Member = std::pair<std::string, Json>;

  Json() = default;
  Json(std::string_view text) : value_(std::string(text)) {}  // NOLINT(google-explicit-constructor)
  Json(const char* text) : value_(std::string(text)) {}       // NOLINT(google-explicit-constructor)
  Json(std::string text) : value_(std::move(text)) {}         // NOLINT(google-explicit-constructor)
  Json(double number) : value_(number) {}                     // NOLINT(google-explicit-constructor)
  Json(std::int64_t number) : value_(number) {}               // NOLINT(google-explicit-constructor)
  Json(int number) : value_(std::int64_t{number}) {}          // NOLINT(google-explicit-constructor)

  static Json array() { return Json(std::vector<Json>{}); }
  static Json object() { return Json(std::vector<Member>{}); }

  Json& push(Json item);
  /// Replaces a member of the same name.
  Json& set(std::string_view name, Json item);
  /// Sets all members of another object.
  Json& append(const Json& other);
  [[nodiscard]] std::size_t size() const;

  /// Arrays of objects one object a line, so that a table can be read and compared line by line.
  [[nodiscard]] std::string text() const;

 private:
  explicit Json(std::vector<Json> items) : value_(std::move(items)) {}
  explicit Json(std::vector<Member> members) : value_(std::move(members)) {}
  void write(std::string& out, int depth) const;

  std::variant<std::monostate, std::string, double, std::int64_t, std::vector<Json>, std::vector<Member>> value_;
};

}  // namespace moesim::bench
