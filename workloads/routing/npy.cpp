#include "workloads/routing/npy.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <string>

#include "sim/core/error.hpp"

namespace moesim {

namespace {

struct TypeName {
  NpyType type;
  std::string_view code;  ///< after the byte order
  std::string_view name;
  std::size_t size;
};
constexpr auto kTypes = std::to_array<TypeName>({{NpyType::kUint8, "u1", "uint8", 1},
                                                 {NpyType::kInt8, "i1", "int8", 1},
                                                 {NpyType::kUint16, "u2", "uint16", 2},
                                                 {NpyType::kInt16, "i2", "int16", 2},
                                                 {NpyType::kUint32, "u4", "uint32", 4},
                                                 {NpyType::kInt32, "i4", "int32", 4},
                                                 {NpyType::kUint64, "u8", "uint64", 8},
                                                 {NpyType::kInt64, "i8", "int64", 8},
                                                 {NpyType::kFloat32, "f4", "float32", 4},
                                                 {NpyType::kFloat64, "f8", "float64", 8}});

const TypeName& entry(NpyType type) { return kTypes[static_cast<std::size_t>(type)]; }

/// Reads the header's text, a Python dict literal with the keys descr, fortran_order and shape.
class DictReader {
 public:
  DictReader(std::string_view text, std::string_view name) : text_(text), name_(name) {}

  NpyHeader read() {
    NpyHeader header;
    std::array<bool, 3> seen{};
    expect('{');
    while (!accept('}')) {
      const std::string_view key = string();
      expect(':');
      const std::size_t which = key == "descr" ? 0 : key == "fortran_order" ? 1 : key == "shape" ? 2 : 3;
      if (which == 3 || seen[which]) {
        fail(fmt::format("expected each of descr, fortran_order and shape once in the .npy header, found '{}'{}",
                         printable(key), which == 3 ? "" : " twice"));
      }
      seen[which] = true;
      if (which == 0) {
        header.type = type();
      } else if (which == 1) {
        c_order();
      } else {
        header.shape = shape();
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    if (at_ != text_.size()) {
      fail("expected the .npy header to end after its dictionary, found more text");
    }
    if (std::find(seen.begin(), seen.end(), false) != seen.end()) {
      fail("expected descr, fortran_order and shape in the .npy header, found only some of them");
    }
    return header;
  }

 private:
  [[noreturn]] void fail(std::string message) const { throw ConfigError({std::string(name_), {}}, std::move(message)); }

  static std::string printable(std::string_view text) {
    std::string shown(text.substr(0, 40));
    std::replace_if(shown.begin(), shown.end(), [](char c) { return c < 0x20 || c > 0x7e; }, '?');
    return shown;
  }
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) {
      ++at_;
    }
  }
  bool accept(char c) {
    skip_space();
    if (at_ < text_.size() && text_[at_] == c) {
      ++at_;
      return true;
    }
    return false;
  }
  void expect(char c) {
    if (!accept(c)) {
      fail(fmt::format("expected '{}' at byte {} of the .npy header, found {}", c, at_,
                       at_ < text_.size() ? '\'' + printable(text_.substr(at_, 1)) + '\'' : "its end"));
    }
  }
  std::string_view string() {
    skip_space();
    const char quote = at_ < text_.size() ? text_[at_] : '\0';
    if (quote != '\'' && quote != '"') {
      fail(
          fmt::format("expected a quoted text at byte {} of the .npy header, found something else "
                      "(a structured array?)",
                      at_));
    }
    const std::size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) {
      fail("expected the quoted text in the .npy header to end, found the header's end");
    }
    const std::string_view content = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return content;
  }
  bool accept_word(std::string_view word) {
    skip_space();
    if (text_.substr(at_, word.size()) == word) {
      at_ += word.size();
      return true;
    }
    return false;
  }
  NpyType type() {
    const std::string_view descr = string();
    const std::string_view code = descr.empty() ? descr : descr.substr(1);
    for (const TypeName& candidate : kTypes) {
      if (code != candidate.code) {
        continue;
      }
      if (descr[0] == '<' || (descr[0] == '|' && candidate.size == 1)) {
        return candidate.type;
      }
      if (descr[0] == '>') {
        fail(fmt::format("expected little-endian elements, found big-endian ones (descr '{}')", printable(descr)));
      }
    }
    fail(fmt::format("expected elements of type uint8 to int64, float32 or float64, found descr '{}'",
                     printable(descr)));
  }
  void c_order() {
    if (accept_word("True")) {
      fail("expected an array in C order, found Fortran order (save numpy.ascontiguousarray of it)");
    }
    if (!accept_word("False")) {
      fail("expected fortran_order to be False in the .npy header, found something else");
    }
  }
  std::vector<std::size_t> shape() {
    constexpr std::size_t kMostDimensions = 32;  // NumPy's own limit
    std::vector<std::size_t> shape;
    expect('(');
    while (!accept(')')) {
      shape.push_back(number());
      if (shape.size() > kMostDimensions) {
        fail(fmt::format("expected at most {} dimensions, found more", kMostDimensions));
      }
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return shape;
  }
  std::size_t number() {
    skip_space();
    const std::size_t from = at_;
    std::size_t value = 0;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
      const auto digit = static_cast<std::size_t>(text_[at_] - '0');
      if (value > (std::numeric_limits<std::size_t>::max() - digit) / 10) {
        fail("expected a shape that fits in 64 bits, found a larger one");
      }
      value = value * 10 + digit;
      ++at_;
    }
    if (at_ == from) {
      fail(fmt::format("expected a whole number at byte {} of the .npy header, found something else", at_));
    }
    return value;
  }

  std::string_view text_;
  std::string_view name_;
  std::size_t at_ = 0;
};

std::size_t little_endian(std::span<const std::byte> bytes) {
  std::size_t value = 0;
  for (std::size_t i = bytes.size(); i > 0; --i) {
    value = value << 8 | static_cast<std::size_t>(bytes[i - 1]);
  }
  return value;
}

}  // namespace

std::size_t size_of(NpyType type) { return entry(type).size; }
bool is_integer(NpyType type) { return type != NpyType::kFloat32 && type != NpyType::kFloat64; }
std::string_view name_of(NpyType type) { return entry(type).name; }

std::size_t NpyHeader::elements() const {
  std::size_t product = 1;
  for (const std::size_t extent : shape) {
    product *= extent;
  }
  return product;
}

NpyHeader parse_npy_header(std::span<const std::byte> file, std::string_view name) {
  return parse_npy_header(file, name, file.size());
}

NpyHeader parse_npy_header(std::span<const std::byte> beginning, std::string_view name, std::size_t size) {
  const auto fail = [&](std::string message) -> void {
    throw ConfigError({std::string(name), {}}, std::move(message));
  };
  constexpr std::array<unsigned char, 6> kMagic = {0x93, 'N', 'U', 'M', 'P', 'Y'};
  constexpr std::size_t kVersionEnd = 8;
  if (beginning.size() < kVersionEnd || !std::equal(kMagic.begin(), kMagic.end(), beginning.begin(),
                                                    [](unsigned char a, std::byte b) { return std::byte{a} == b; })) {
    fail(fmt::format("expected a .npy file (it begins with \\x93NUMPY), found {} bytes of something else", size));
  }
  const auto major = static_cast<unsigned>(beginning[6]);
  if (major < 1 || major > 3) {
    fail(fmt::format("expected .npy format 1, 2 or 3, found {}", major));
  }
  const std::size_t length_size = major == 1 ? 2 : 4;
  const std::size_t text_from = kVersionEnd + length_size;
  const std::size_t text_size =
      beginning.size() < text_from ? 0 : little_endian(beginning.subspan(kVersionEnd, length_size));
  if (beginning.size() < text_from || beginning.size() - text_from < text_size) {
    fail(fmt::format("expected a .npy header of {} bytes, found a file of {} bytes in all", text_size, size));
  }
  const std::string_view text(reinterpret_cast<const char*>(beginning.data()) + text_from, text_size);
  NpyHeader header = DictReader(text, name).read();
  header.data_offset = text_from + text_size;

  // Overflow-free product: compare with what the file can hold at each step.
  const std::size_t present = size - header.data_offset;
  std::size_t bytes = size_of(header.type);
  bool fits = true;
  for (const std::size_t extent : header.shape) {
    if (extent == 0) {
      bytes = 0;
    }
    if (bytes != 0 && extent > std::numeric_limits<std::size_t>::max() / bytes) {
      fits = false;
      break;
    }
    bytes *= extent;
  }
  if (std::find(header.shape.begin(), header.shape.end(), 0) != header.shape.end()) {
    fits = true;
    bytes = 0;
  }
  if (!fits || bytes != present) {
    fail(fmt::format("expected {} bytes of data for shape [{}] of {}, found {}{}",
                     fits ? std::to_string(bytes) : "more than 2^64", fmt::join(header.shape, ", "),
                     name_of(header.type), present, present < bytes || !fits ? ": the file is truncated" : ""));
  }
  return header;
}

std::string npy_head(NpyType type, std::span<const std::size_t> shape) {
  const TypeName& element = entry(type);
  std::string text =
      fmt::format("{{'descr': '{}{}', 'fortran_order': False, 'shape': ({}{}), }}", element.size == 1 ? '|' : '<',
                  element.code, fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
  constexpr std::size_t kPrefix = 10;
  constexpr std::size_t kAlignment = 64;
  text.append((2 * kAlignment - (kPrefix + text.size() + 1) % kAlignment) % kAlignment, ' ');
  text += '\n';
  std::string head = "\x93NUMPY";
  head += '\x01';
  head += '\0';
  head += static_cast<char>(text.size() & 0xff);
  head += static_cast<char>(text.size() >> 8);
  return head + text;
}

}  // namespace moesim
