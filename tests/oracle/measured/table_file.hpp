#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace moesim::test {

/// One row of a table, by column.
using TableRow = std::map<std::string, std::string>;

inline double number(const TableRow& row, const std::string& column) { return std::stod(row.at(column)); }

/// A gzipped CSV file whose first line names the columns; empty where it cannot be read.
inline std::vector<TableRow> read_table(const std::filesystem::path& path) {
  const std::string command = "gzip -dc '" + path.string() + "' 2>/dev/null";
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
  std::string text;
  std::array<char, 65536> buffer{};
  while (pipe != nullptr) {
    const std::size_t got = std::fread(buffer.data(), 1, buffer.size(), pipe.get());
    if (got == 0) {
      break;
    }
    text.append(buffer.data(), got);
  }
  const auto split = [](const std::string& line) {
    std::vector<std::string> fields;
    std::istringstream stream(line);
    for (std::string field; std::getline(stream, field, ',');) {
      fields.push_back(field);
    }
    return fields;
  };
  std::istringstream lines(text);
  std::string line;
  std::vector<std::string> columns;
  if (std::getline(lines, line)) {
    columns = split(line);
  }
  std::vector<TableRow> rows;
  while (std::getline(lines, line)) {
    const std::vector<std::string> fields = split(line);
    TableRow row;
    for (std::size_t i = 0; i < std::min(fields.size(), columns.size()); ++i) {
      row[columns[i]] = fields[i];
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace moesim::test
