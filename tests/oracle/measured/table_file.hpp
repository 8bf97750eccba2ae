#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "sim/core/error.hpp"
#include "validate/fit/table_file.hpp"

namespace moesim::test {

/// One row of a table, by column.
using TableRow = std::map<std::string, std::string>;

inline double number(const TableRow& row, const std::string& column) { return std::stod(row.at(column)); }

/// All rows of a table; none where it cannot be read.
inline std::vector<TableRow> read_table(const std::filesystem::path& path) {
  std::vector<TableRow> rows;
  try {
    const TableFile table = TableFile::read(path);
    for (std::size_t row = 0; row < table.rows(); ++row) {
      rows.emplace_back();
      for (std::size_t column = 0; column < table.columns().size(); ++column) {
        rows.back()[table.columns()[column]] = table.cell(row, column);
      }
    }
  } catch (const ConfigError&) {
    rows.clear();
  }
  return rows;
}

}  // namespace moesim::test
