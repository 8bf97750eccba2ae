#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <iosfwd>
#include <span>
#include <string>
#include <string_view>

namespace moesim {

/// The whole file as text. Throws ConfigError naming the path when it cannot be read.
std::string read_file(const std::filesystem::path& path);

/// Writes beside `path` and renames into place, so that a reader (or a crash) never sees half a file. Creates the
/// folder if needed. Throws ConfigError naming the path when it cannot be written.
void write_file(const std::filesystem::path& path, std::string_view content);
/// The same for content that is too large to be put together first.
void write_file(const std::filesystem::path& path, const std::function<void(std::ostream&)>& write);

/// SHA-256 in lower-case hexadecimal.
std::string sha256(std::span<const std::byte> data);
std::string sha256(std::string_view text);
/// Of a file, mapped: to copy it takes as long as to hash it. Throws ConfigError naming the path when it cannot be
/// read.
std::string sha256_of_file(const std::filesystem::path& path);

/// A file mapped read-only into memory, for traces that are larger than one wants to copy.
class MappedFile {
 public:
  /// Throws ConfigError naming the path when it cannot be opened, is not a regular file, or cannot be mapped.
  explicit MappedFile(std::filesystem::path path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
};

}  // namespace moesim
