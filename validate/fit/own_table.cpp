#include "validate/fit/own_table.hpp"

#include <fmt/format.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "sim/core/error.hpp"

namespace moesim {

TableFile own_table(const Document& document) {
  const Json& root = document.root();
  if (!root.is_object() || root.value("schema", Json()) != Json("moesim.measurement/1")) {
    throw ConfigError({document.name(), "/schema"}, "expected \"moesim.measurement/1\"");
  }
  if (!root.contains("rows") || !root.at("rows").is_array()) {
    throw ConfigError({document.name(), "/rows"}, "expected an array of rows");
  }
  std::vector<std::string> columns;
  const auto text_of = [&](const Json& value, const Place& place) {
    std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    if (value.is_structured() || text.find_first_of(",\n\r") != std::string::npos) {
      throw ConfigError(place, "expected a number or a word without commas");
    }
    return text;
  };
  std::set<std::string> seen;
  for (const Json& row : root.at("rows")) {
    if (!row.is_object()) {
      throw ConfigError({document.name(), "/rows"}, "expected objects");
    }
    for (const auto& [key, value] : row.items()) {
      if (seen.insert(key).second) {
        columns.push_back(key);
      }
    }
  }
  for (const char* common : {"gpu", "framework", "version"}) {
    if (root.contains(common) && !seen.contains(common)) {
      columns.emplace_back(common);
    }
  }
  std::string text;
  for (const std::string& column : columns) {
    text += (text.empty() ? "" : ",") + (column == "gpu" ? std::string("device") : column);
  }
  text += '\n';
  std::size_t index = 0;
  for (const Json& row : root.at("rows")) {
    const Place place{document.name(), fmt::format("/rows/{}", index++)};
    std::string line;
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const Json& holder = row.contains(columns[i]) ? row : root;
      line += i == 0 ? "" : ",";
      line += holder.contains(columns[i]) ? text_of(holder.at(columns[i]), place) : "";
    }
    if (!line.empty()) {
      text += line + '\n';
    }
  }
  return TableFile::parse(document.name(), std::move(text));
}

}  // namespace moesim
