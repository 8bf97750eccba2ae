#include "models/architecture/module_pattern.hpp"

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
  if (text.size() > kLongest) {
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
