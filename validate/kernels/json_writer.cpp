#include "validate/kernels/json_writer.hpp"

#include <array>
#include <charconv>
#include <cmath>

#include "sim/core/error.hpp"

namespace moesim::bench {
namespace {

void write_string(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      constexpr std::string_view kDigits = "0123456789abcdef";
      out += "\\u00";
      out += kDigits[static_cast<unsigned char>(c) / 16];
      out += kDigits[static_cast<unsigned char>(c) % 16];
    } else {
      out += c;
    }
  }
  out += '"';
}

template <class T>
void write_number(std::string& out, T number) {
  std::array<char, 40> buffer{};
  const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number);
  out.append(buffer.data(), result.ptr);
}

}  // namespace

Json& Json::push(Json item) {
  auto* const items = std::get_if<std::vector<Json>>(&value_);
  ensure(items != nullptr, "an item for what is no array");
  items->push_back(std::move(item));
  return *this;
}

Json& Json::set(std::string_view name, Json item) {
  auto* const members = std::get_if<std::vector<Member>>(&value_);
  ensure(members != nullptr, "a member for what is no object");
  for (Member& member : *members) {
    if (member.first == name) {
      member.second = std::move(item);
      return *this;
    }
  }
  members->emplace_back(std::string(name), std::move(item));
  return *this;
}

Json& Json::append(const Json& other) {
  const auto* const members = std::get_if<std::vector<Member>>(&other.value_);
  ensure(members != nullptr, "members of what is no object");
  for (const Member& member : *members) {
    set(member.first, member.second);
  }
  return *this;
}

std::size_t Json::size() const {
  if (const auto* const items = std::get_if<std::vector<Json>>(&value_)) {
    return items->size();
  }
  const auto* const members = std::get_if<std::vector<Member>>(&value_);
  return members != nullptr ? members->size() : 0;
}

std::string Json::text() const {
  std::string out;
  write(out, 0);
  out += '\n';
  return out;
}

/// The document and its arrays are spread over lines; what is deeper stays on one.
void Json::write(std::string& out, int depth) const {
  constexpr int kSpread = 2;
  const auto separator = [&](std::size_t index) {
    if (index > 0) {
      out += ',';
    }
    if (depth < kSpread) {
      out += '\n';
      out.append(static_cast<std::size_t>(depth) + 1, ' ');
    } else if (index > 0) {
      out += ' ';
    }
  };
  if (const auto* const text = std::get_if<std::string>(&value_)) {
    write_string(out, *text);
  } else if (const auto* const number = std::get_if<double>(&value_)) {
    if (std::isfinite(*number)) {
      write_number(out, *number);
    } else {
      out += "null";
    }
  } else if (const auto* const whole = std::get_if<std::int64_t>(&value_)) {
    write_number(out, *whole);
  } else if (const auto* const items = std::get_if<std::vector<Json>>(&value_)) {
    out += '[';
    for (std::size_t i = 0; i < items->size(); ++i) {
      separator(i);
      (*items)[i].write(out, depth + 1);
    }
    out += ']';
  } else if (const auto* const members = std::get_if<std::vector<Member>>(&value_)) {
    out += '{';
    for (std::size_t i = 0; i < members->size(); ++i) {
      separator(i);
      write_string(out, (*members)[i].first);
      out += ": ";
      (*members)[i].second.write(out, depth + 1);
    }
    out += '}';
  } else {
    out += "null";
  }
}

}  // namespace moesim::bench
