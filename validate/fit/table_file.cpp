#include "validate/fit/table_file.hpp"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <memory>

namespace moesim {
namespace {

std::string unzip(const std::filesystem::path& path) {
  struct Close {
    void operator()(gzFile_s* file) const { gzclose(file); }
  };
  if (!std::filesystem::is_regular_file(path)) {
    throw ConfigError({path.string(), ""}, "expected a file, found none");
  }
  const std::unique_ptr<gzFile_s, Close> file(gzopen(path.c_str(), "rb"));  // passes plain files through
  if (!file) {
    throw ConfigError({path.string(), ""}, "cannot be opened");
  }
  std::string text;
  std::array<char, 1 << 16> buffer{};
  int got = 0;
  while ((got = gzread(file.get(), buffer.data(), static_cast<unsigned>(buffer.size()))) > 0) {
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  int code = Z_OK;
  gzerror(file.get(), &code);
  if (got < 0 || (code != Z_OK && code != Z_STREAM_END)) {
    throw ConfigError({path.string(), ""}, "expected a whole gzip file, found one that is damaged or cut off");
  }
  return text;
}

/// Tables of aiconfigurator also come in these forms, which look like tables of another kind.
void refuse_other_forms(const std::string& name, std::string_view text) {
  if (text.starts_with("version https://git-lfs")) {
    throw ConfigError({name, ""},
                      "expected a table, found a pointer of Git LFS to one: fetch the file with \"git lfs pull\"");
  }
  if (text.starts_with("{")) {
    throw ConfigError({name, ""}, "expected CSV, found JSON: our own measurements are read with --table-format moesim");
  }
  if (text.starts_with("PAR1")) {
    throw ConfigError({name, ""},
                      "expected CSV, found Parquet: convert it, as with python3 -c \"import pandas; "
                      "pandas.read_parquet('table.parquet').to_csv('table.csv', index=False)\"");
  }
}

}  // namespace

TableFile TableFile::read(const std::filesystem::path& path) {
  std::string text = unzip(path);
  refuse_other_forms(path.string(), text);
  return parse(path.string(), std::move(text));
}

TableFile TableFile::parse(std::string name, std::string text) {
  TableFile out;
  out.name_ = std::move(name);
  out.text_ = std::move(text);
  std::size_t line = 0;
  for (std::size_t at = 0; at < out.text_.size();) {
    ++line;
    const std::size_t newline = std::min(out.text_.find('\n', at), out.text_.size());
    std::size_t end = newline;
    if (end > at && out.text_[end - 1] == '\r') {
      --end;
    }
    std::size_t cells = 0;
    for (std::size_t cell = at; end > at && cell <= end; ++cells) {
      const std::size_t comma = std::min(out.text_.find(',', cell), end);
      if (line == 1) {
        out.columns_.push_back(out.text_.substr(cell, comma - cell));
      } else {
        out.starts_.push_back(cell);
        out.ends_.push_back(comma);
      }
      cell = comma + 1;
    }
    at = newline + 1;
    if (line == 1 || cells == 0) {
      continue;
    }
    if (cells != out.columns_.size()) {
      throw ConfigError({fmt::format("{}:{}", out.name_, line), ""},
                        fmt::format("expected {} cells as in the header, found {}", out.columns_.size(), cells));
    }
    out.lines_.push_back(line);
  }
  if (out.columns_.empty()) {
    throw ConfigError({out.name_, ""}, "expected a header line with the names of columns, found none");
  }
  return out;
}

std::optional<std::size_t> TableFile::find(std::string_view column) const {
  const auto found = std::find(columns_.begin(), columns_.end(), column);
  return found == columns_.end() ? std::nullopt : std::optional<std::size_t>(found - columns_.begin());
}

std::string_view TableFile::cell(std::size_t row, std::size_t column) const {
  const std::size_t index = row * columns_.size() + column;
  return std::string_view(text_).substr(starts_[index], ends_[index] - starts_[index]);
}

Place TableFile::place(std::size_t row) const { return {fmt::format("{}:{}", name_, lines_[row]), ""}; }

}  // namespace moesim
