#include "sim/config/catalogue.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "sim/config/document.hpp"
#include "sim/core/suggest.hpp"

namespace moesim {

std::vector<std::string_view> Catalogue::names() const {
  std::vector<std::string_view> names;
  for (const EmbeddedFile& file : files_) {
    names.push_back(file.name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool Catalogue::contains(std::string_view name) const {
  return std::any_of(files_.begin(), files_.end(), [&](const EmbeddedFile& file) { return file.name == name; });
}

Document Catalogue::find(std::string_view name, const Place& place) const {
  for (const EmbeddedFile& file : files_) {
    if (file.name == name) {
      return Document::parse(fmt::format("{} {}", kind_, name), file.text);
    }
  }
  throw ConfigError(place,
                    fmt::format("expected the name of a {}, found \"{}\"{}", kind_, name, suggestion(name, names())));
}

}  // namespace moesim
