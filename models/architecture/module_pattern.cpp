#include "models/architecture/module_pattern.hpp"

#include <vector>

namespace moesim {

namespace {

/// The whole of `text` is `pattern`, where * stands for any characters. On a mismatch the last * takes one more of
/// them; those before it need not, so that the time is at most the product of the lengths.
bool is_whole(std::string_view pattern, std::string_view text) {
  std::size_t at = 0;
  std::size_t in_text = 0;
  std::optional<std::size_t> star;
  std::size_t after_star = 0;
  while (in_text < text.size()) {
    if (at < pattern.size() && pattern[at] == '*') {
      star = at++;
      after_star = in_text;
    } else if (at < pattern.size() && pattern[at] == text[in_text]) {
      ++at;
      ++in_text;
    } else if (star) {
      at = *star + 1;
      in_text = ++after_star;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', at) == std::string_view::npos;
}

/// `pattern` at the beginning of `text`, up to its end or to a dot.
bool leads(std::string_view pattern, std::string_view text) {
  for (std::size_t end = text.find('.'); end != std::string_view::npos; end = text.find('.', end + 1)) {
    if (is_whole(pattern, text.substr(0, end))) {
      return true;
    }
  }
  return is_whole(pattern, text);
}

/// Past a class of characters, from its '[' on: the place of its ']', which does not end it where it comes first.
std::size_t end_of_class(std::string_view expression, std::size_t at) {
  std::size_t next = at + 1;
  next += next < expression.size() && expression[next] == '^' ? 1 : 0;
  next += next < expression.size() && expression[next] == ']' ? 1 : 0;
  while (next < expression.size() && expression[next] != ']') {
    next += expression[next] == '\\' ? 2 : 1;
  }
  return next;
}

/// The library tries every way of sharing a text out among repeats. What repeats a group with repeats or alternatives
/// can take it exponential time, and every repeat that anything fits multiplies its time by the length.
bool is_quick(std::string_view expression) {
  constexpr int kMostRepeats = 5;
  int repeats = 0;
  std::vector<bool> branches{false};  // of the open groups: holds a repeat or an alternative
  bool closed_branches = false;       // of the group that has just been closed
  for (std::size_t i = 0; i < expression.size(); ++i) {
    bool closed = false;
    switch (expression[i]) {
      case '\\':
        ++i;
        break;
      case '[':
        i = end_of_class(expression, i);
        break;
      case '(':
        branches.push_back(false);
        break;
      case ')':
        closed = true;
        closed_branches = branches.back();
        if (branches.size() > 1) {
          branches.pop_back();
        }
        branches.back() = branches.back() || closed_branches;
        break;
      case '|':
        branches.back() = true;
        break;
      case '*':
      case '+':
      case '{':
        if (closed_branches || ++repeats > kMostRepeats) {
          return false;
        }
        branches.back() = true;
        break;
      default:
        break;
    }
    closed_branches = closed && closed_branches;
  }
  return true;
}

}  // namespace

std::optional<ModulePattern> ModulePattern::parse(std::string_view text) {
  constexpr std::string_view kExpression = "re:";
  constexpr std::size_t kLongest = 1000;  // the library's parser calls itself for each parenthesis
  if (!text.starts_with(kExpression)) {
    while (text.ends_with('.')) {
      text.remove_suffix(1);
    }
    return ModulePattern(std::string(text));
  }
  text.remove_prefix(kExpression.size());
  if (text.size() > kLongest || !is_quick(text)) {
    return std::nullopt;
  }
  try {
    return ModulePattern(std::regex(text.begin(), text.end()));
  } catch (const std::regex_error&) {
    return std::nullopt;
  }
}

bool ModulePattern::matches(std::string_view module) const {
  if (const auto* expression = std::get_if<std::regex>(&pattern_)) {
    return std::regex_search(module.begin(), module.end(), *expression, std::regex_constants::match_continuous);
  }
  const std::string& name = std::get<std::string>(pattern_);
  while (!name.empty()) {
    if (leads(name, module)) {
      return true;
    }
    const std::size_t dot = module.find('.');
    if (dot == std::string_view::npos) {
      break;
    }
    module.remove_prefix(dot + 1);
  }
  return false;
}

}  // namespace moesim
