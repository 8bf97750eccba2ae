#include "validate/fit/table_row.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <optional>
#include <vector>

#include "sim/core/error.hpp"
#include "sim/core/suggest.hpp"

namespace moesim {

namespace {

template <class T>
std::optional<T> parsed(std::string_view cell) {
  T value{};
  const auto [end, fault] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  return fault == std::errc() && end == cell.data() + cell.size() ? std::optional(value) : std::nullopt;
}

}  // namespace

std::string_view TableRow::text(std::string_view column) const {
  const auto found = table_.find(column);
  if (!found) {
    const std::vector<std::string_view> columns(table_.columns().begin(), table_.columns().end());
    throw ConfigError({table_.name(), ""},
                      fmt::format("expected a column \"{}\", found none{}", column, suggestion(column, columns)));
  }
  return table_.cell(row_, *found);
}

double TableRow::number(std::string_view column) const {
  const auto value = parsed<double>(text(column));
  if (!value || !(*value > 0.0) || !std::isfinite(*value)) {
    throw ConfigError(table_.place(row_),
                      fmt::format("expected a number above 0 in column \"{}\", found \"{}\"", column, text(column)));
  }
  return *value;
}

double TableRow::amount(std::string_view column) const {
  const auto value = parsed<double>(text(column));
  if (!value || !(*value >= 0.0) || !std::isfinite(*value)) {
    throw ConfigError(table_.place(row_), fmt::format("expected a number of at least 0 in column \"{}\", found \"{}\"",
                                                      column, text(column)));
  }
  return *value;
}

std::int64_t TableRow::count(std::string_view column) const {
  constexpr std::int64_t kMost = std::int64_t{1} << 40;
  const auto value = parsed<std::int64_t>(text(column));
  if (!value || *value < 1 || *value > kMost) {
    throw ConfigError(
        table_.place(row_),
        fmt::format("expected a whole number of at least 1 in column \"{}\", found \"{}\"", column, text(column)));
  }
  return *value;
}

}  // namespace moesim
