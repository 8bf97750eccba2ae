#include "sim/config/document.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "sim/core/file.hpp"

namespace moesim {

namespace {

constexpr std::size_t kMaxDepth = 64;

bool is_utf8(std::string_view text) {
  try {
    static_cast<void>(Json(text).dump());
    return true;
  } catch (const Json::exception&) {
    return false;
  }
}

/// Builds the DOM from parser events, which is where duplicate keys can still be seen (the library's own DOM keeps
/// the last one silently).
class Builder final : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(std::string_view text) : text_(text) {}

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    if (!seen_.back().insert(name).second) {
      faults_.push_back({path() + '/' + Document::token(name), "expected each key once, found it twice"});
    }
    key_ = name;
    return true;
  }

  bool parse_error(std::size_t position, const std::string& token, const nlohmann::detail::exception& error) override {
    const std::size_t at = std::min(position == 0 ? 0 : position - 1, text_.size());
    std::size_t line = 1;
    std::size_t column = 1;
    for (std::size_t i = 0; i < at; ++i) {
      column = text_[i] == '\n' ? 1 : column + 1;
      line += text_[i] == '\n' ? 1 : 0;
    }
    std::string why = error.what();
    // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error while ...": keep the reason.
    if (const auto from = why.find("syntax error"); from != std::string::npos) {
      why = why.substr(from);
    } else if (const auto bracket = why.find("] "); bracket != std::string::npos) {
      why = why.substr(bracket + 2);
    }
    if (text_.find_first_not_of(" \t\r\n") == std::string_view::npos) {
      why = "the text is empty";
    }
    for (char& c : why) {
      c = static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e ? '?' : c;
    }
    static_cast<void>(token);
    faults_.push_back({{}, fmt::format("expected JSON, found a fault at line {}, column {}: {}", line, column, why)});
    return false;
  }

  Json root;
  struct Fault {
    std::string pointer;
    std::string message;
  };
  [[nodiscard]] const std::vector<Fault>& faults() const { return faults_; }

 private:
  Json* place(Json value) {
    if (stack_.empty()) {
      root = std::move(value);
      return &root;
    }
    Json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    auto& members = parent.get_ref<Json::object_t&>();
    members.emplace_back(key_, std::move(value));  // a second one of the same name is a fault already noted
    return &members.back().second;
  }
  template <class T>
  bool put(T&& value) {
    place(Json(std::forward<T>(value)));
    return true;
  }
  bool open(Json container) {
    if (stack_.size() >= kMaxDepth) {
      faults_.push_back({{}, fmt::format("expected at most {} levels of nesting, found more", kMaxDepth)});
      return false;
    }
    stack_.push_back(place(std::move(container)));
    keys_.push_back(key_);
    seen_.emplace_back();
    return true;
  }
  bool close() {
    stack_.pop_back();
    keys_.pop_back();
    seen_.pop_back();
    return true;
  }
  [[nodiscard]] std::string path() const {
    std::string text;
    for (std::size_t i = 1; i < stack_.size(); ++i) {
      text += '/' + (stack_[i - 1]->is_array() ? std::to_string(stack_[i - 1]->size() - 1) : Document::token(keys_[i]));
    }
    return text;
  }

  std::string_view text_;
  std::vector<Json*> stack_;
  std::vector<std::string> keys_;
  std::vector<std::unordered_set<std::string>> seen_;  // keys so far, per open container
  std::string key_;
  std::vector<Fault> faults_;
};

}  // namespace

std::string Document::token(std::string_view key) {
  std::string token;
  for (const char c : key) {
    token += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  }
  return token;
}

Document Document::parse(std::string name, std::string_view text) {
  Builder builder(text);
  Json::sax_parse(text.begin(), text.end(), &builder, Json::input_format_t::json, true);
  if (!builder.faults().empty()) {
    std::vector<Diagnostic> diagnostics;
    for (const auto& fault : builder.faults()) {
      diagnostics.push_back({{name, fault.pointer}, fault.message});
    }
    throw ConfigError(std::move(diagnostics));
  }
  Document document;
  document.name_ = std::move(name);
  document.root_ = std::move(builder.root);
  return document;
}

Document Document::read(const std::filesystem::path& path) {
  Document document = parse(path.string(), read_file(path));
  document.folder_ = path.parent_path();
  return document;
}

void Document::set(std::string_view assignment) {
  const Place place{fmt::format("--set {}", assignment), {}};
  const std::size_t equals = assignment.find('=');
  if (equals == std::string_view::npos || assignment.empty() || assignment.front() != '/') {
    throw ConfigError(place, "expected /json/pointer=value");
  }
  if (!is_utf8(assignment)) {
    throw ConfigError({"--set", {}}, "expected text in UTF-8");
  }
  const std::string_view text = assignment.substr(equals + 1);
  Json value;
  try {
    value = parse("value", text).root();
  } catch (const ConfigError& error) {
    if (text.find_first_of("{[\"") == 0) {  // meant as JSON: a slip in it must not turn it into a string
      throw ConfigError(place, error.diagnostics().front().message);
    }
    value = std::string(text);
  }
  set(assignment.substr(0, equals), std::move(value), place);
}

void Document::set(std::string_view pointer, Json value, const Place& place) {
  if (static_cast<std::size_t>(std::count(pointer.begin(), pointer.end(), '/')) > kMaxDepth) {
    throw ConfigError(place, fmt::format("expected at most {} levels of nesting, found more", kMaxDepth));
  }
  Json* target = &root_;
  std::string_view rest = pointer.substr(1);
  std::string walked;
  while (true) {
    const std::size_t slash = rest.find('/');
    std::string token(rest.substr(0, slash));
    for (std::size_t i = 0; (i = token.find('~', i)) != std::string::npos; ++i) {
      if (i + 1 >= token.size() || (token[i + 1] != '0' && token[i + 1] != '1')) {
        throw ConfigError(place, "expected ~0 or ~1 after ~ in the JSON pointer");
      }
      token.replace(i, 2, token[i + 1] == '0' ? "~" : "/");
    }
    if (target->is_null()) {
      *target = Json::object();
    }
    if (target->is_object()) {
      target = &(*target)[token];
    } else if (target->is_array()) {
      const bool number = !token.empty() && token.size() <= 6 &&
                          token.find_first_not_of("0123456789") == std::string::npos &&
                          (token == "0" || token.front() != '0');
      const std::size_t index = token == "-" ? target->size() : number ? std::stoul(token) : target->size() + 1;
      if (index > target->size()) {
        throw ConfigError(place, fmt::format("expected an index up to {} in the array at \"{}\", found \"{}\"",
                                             target->size(), walked, token));
      }
      if (index == target->size()) {
        target->push_back(nullptr);
      }
      target = &(*target)[index];
    } else {
      // A plain value gives way to an object, so that "model": "name" can become {"huggingface": …}.
      *target = Json::object();
      target = &(*target)[token];
    }
    walked += '/' + token;
    if (slash == std::string_view::npos) {
      break;
    }
    rest = rest.substr(slash + 1);
  }
  *target = std::move(value);
}

}  // namespace moesim
