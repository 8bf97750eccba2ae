#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "validate/fit/table_file.hpp"

namespace moesim {

/// Cells of one row by column name. Throws ConfigError naming the file where a column is missing, and the line where a
/// cell is not what is asked for.
class TableRow {
 public:
  TableRow(const TableFile& table, std::size_t row) : table_(table), row_(row) {}

  [[nodiscard]] std::string_view text(std::string_view column) const;
  /// Above zero and finite.
  [[nodiscard]] double number(std::string_view column) const;
  /// Zero or above, and finite.
  [[nodiscard]] double amount(std::string_view column) const;
  /// At least one.
  [[nodiscard]] std::int64_t count(std::string_view column) const;

 private:
  const TableFile& table_;
  std::size_t row_;
};

}  // namespace moesim
