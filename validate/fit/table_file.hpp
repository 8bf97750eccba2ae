#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/core/error.hpp"

namespace moesim {

/// A comma-separated table with one header line, plain or gzipped. Cells are not quoted.
class TableFile {
 public:
  /// Throws ConfigError naming the file, and the line where rows are not as wide as the header.
  static TableFile read(const std::filesystem::path& path);
  static TableFile parse(std::string name, std::string text);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::size_t rows() const { return starts_.empty() ? 0 : starts_.size() / columns_.size(); }
  [[nodiscard]] const std::vector<std::string>& columns() const { return columns_; }
  [[nodiscard]] std::optional<std::size_t> find(std::string_view column) const;
  [[nodiscard]] std::string_view cell(std::size_t row, std::size_t column) const;
  /// "file:line"; the header is line 1.
  [[nodiscard]] Place place(std::size_t row) const;

 private:
  std::string name_;
  std::string text_;
  std::vector<std::string> columns_;
  std::vector<std::size_t> starts_;  // [rows × columns]
  std::vector<std::size_t> ends_;
  std::vector<std::size_t> lines_;  // [rows]
};

}  // namespace moesim
