#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/config/catalogue.hpp"
#include "sim/config/document.hpp"

namespace moesim {

/// One row of `moesim list KIND`.
struct ListRow {
  std::string name;
  std::string summary;
  std::string source;
};

/// What `list`, `show`, `schema` and `check` know: kinds of file with a catalogue, and tables of algorithms.
struct Kind {
  std::string_view name;    ///< plural, as in `moesim list models`
  std::string_view schema;  ///< "moesim.model/1"; empty for what is no file
  std::string_view about;
  std::vector<ListRow> (*rows)();
  const Catalogue* (*catalogue)();  ///< nullptr for what is no file
  Json (*json_schema)();
  void (*check)(const Document& document);  ///< throws what is wrong
};
std::span<const Kind> kinds();

/// By plural or singular name. Throws ConfigError with a suggestion.
const Kind& find_kind(const std::string& name);

/// Decodes a document by its "schema" key, and returns that key. Throws ConfigError or ModelError.
std::string check_document(const Document& document);

}  // namespace moesim
