#include "models/architecture/module_pattern.hpp"

namespace moesim {

namespace {

/// `pattern` at the beginning of `text`, up to its end or to a dot.
bool leads(std::string_view pattern, std::string_view text) {
  if (pattern.empty()) {
    return text.empty() || text.front() == '.';
  }
  if (pattern.front() != '*') {
    return !text.empty() && text.front() == pattern.front() && leads(pattern.substr(1), text.substr(1));
  }
  for (std::size_t skipped = 0; skipped <= text.size(); ++skipped) {
    if (leads(pattern.substr(1), text.substr(skipped))) {
      return true;
    }
  }
  return false;
}

}  // namespace

std::optional<ModulePattern> ModulePattern::parse(std::string_view text) {
  constexpr std::string_view kExpression = "re:";
  if (!text.starts_with(kExpression)) {
    while (text.ends_with('.')) {
      text.remove_suffix(1);
    }
    return ModulePattern(std::string(text));
  }
  text.remove_prefix(kExpression.size());
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
