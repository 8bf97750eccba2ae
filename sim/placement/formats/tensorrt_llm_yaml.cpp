#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "sim/core/error.hpp"
#include "sim/placement/formats/raw_map.hpp"

namespace moesim {

namespace {

std::optional<std::int64_t> whole(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r");
  return begin == std::string_view::npos ? std::string_view()
                                         : text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

class Reader {
 public:
  Reader(const std::string& name, std::string_view text) : name_(name), text_(text) {}

  std::vector<RawMapLayer> read() {
    bool found = false;
    while (next_line()) {
      if (!indented_ && line_ == "initial_global_assignments:") {
        found = true;
        read_assignments();
      }
    }
    if (!found) {
      throw ConfigError({name_, {}}, "expected the key initial_global_assignments of TensorRT-LLM, found none");
    }
    return std::move(layers_);
  }

 private:
  /// The next line that says something, without comment and blanks around it.
  bool next_line() {
    while (at_ < text_.size()) {
      const std::size_t end = std::min(text_.find('\n', at_), text_.size());
      std::string_view line = text_.substr(at_, end - at_);
      begin_ = at_;
      at_ = end + 1;
      ++number_;
      line = line.substr(0, line.find('#'));
      indented_ = !line.empty() && (line.front() == ' ' || line.front() == '\t');
      line_ = trimmed(line);
      if (!line_.empty()) {
        return true;
      }
    }
    return false;
  }

  [[noreturn]] void fail(std::string_view expected, std::string_view found) const {
    throw ConfigError({name_, {}}, fmt::format("line {}: expected {}, found \"{}\"", number_, expected, found));
  }

  void read_assignments() {
    while (next_line()) {
      if (!indented_) {
        at_ = begin_;  // the next key of the file
        --number_;
        return;
      }
      const std::size_t colon = line_.find(':');
      const auto layer = colon == std::string_view::npos ? std::nullopt : whole(trimmed(line_.substr(0, colon)));
      if (!layer || *layer < 0) {
        fail("LAYER: [experts]", line_);
      }
      RawMapLayer row{{name_, fmt::format("/initial_global_assignments/{}", *layer)},
                      static_cast<std::size_t>(*layer),
                      {read_list(trimmed(line_.substr(colon + 1)))}};
      layers_.push_back(std::move(row));
    }
  }

  /// "[1, 2, 3]", which may go on over several lines.
  std::vector<std::int64_t> read_list(std::string_view first) {
    std::string list(first);
    while (list.find(']') == std::string::npos && next_line()) {
      list.append(line_);
    }
    const std::string_view text = list;
    if (text.empty() || text.front() != '[' || text.back() != ']') {
      fail("a list [expert, expert, …]", text.substr(0, 40));
    }
    std::vector<std::int64_t> values;
    std::string_view rest = text.substr(1, text.size() - 2);
    while (!trimmed(rest).empty()) {
      const std::size_t comma = std::min(rest.find(','), rest.size());
      const auto value = whole(trimmed(rest.substr(0, comma)));
      if (!value) {
        fail("the number of an expert", trimmed(rest.substr(0, comma)));
      }
      values.push_back(*value);
      rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
    return values;
  }

  const std::string& name_;
  std::string_view text_;
  std::string_view line_;
  std::size_t at_ = 0;
  std::size_t begin_ = 0;
  std::size_t number_ = 0;
  bool indented_ = false;
  std::vector<RawMapLayer> layers_;
};

}  // namespace

std::vector<RawMapLayer> parse_tensorrt_llm_yaml(const std::string& name, std::string_view text) {
  return Reader(name, text).read();
}

}  // namespace moesim
