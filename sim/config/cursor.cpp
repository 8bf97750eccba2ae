#include "sim/config/cursor.hpp"

#include <fmt/format.h>

namespace moesim {

Cursor Cursor::member(const std::string& key) const {
  Cursor child = *this;
  child.value_ = &value_->at(key);
  child.pointer_ += '/' + Document::token(key);
  return child;
}

Cursor Cursor::element(std::size_t index) const {
  Cursor child = *this;
  child.value_ = &value_->at(index);
  child.pointer_ += '/' + std::to_string(index);
  return child;
}

bool Cursor::fail(std::string message) const {
  faults_->push_back({place(), std::move(message)});
  return false;
}

bool Cursor::expected(std::string_view what) const { return fail(fmt::format("expected {}, found {}", what, found())); }

std::string Cursor::found() const {
  constexpr std::size_t kShown = 60;
  const Json& json = *value_;
  if (json.is_string()) {
    std::string text = json.dump(-1, ' ', true, Json::error_handler_t::replace);
    return text.size() <= kShown ? text : text.substr(0, kShown) + "…\"";
  }
  if (json.is_number()) {
    return "the number " + json.dump();
  }
  if (json.is_object()) {
    return json.empty() ? "an empty object" : "an object";
  }
  if (json.is_array()) {
    return fmt::format("an array of {}", json.size());
  }
  return json.dump();  // true, false, null
}

}  // namespace moesim
