#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "workloads/routing/npy.hpp"

namespace moesim {

/// One array of an .npz archive.
struct NpzMember {
  std::string name;  ///< without the .npy
  std::uint64_t index = 0;
  NpyHeader header;
  std::string place;  ///< "file.npz#/name", for messages

  [[nodiscard]] std::size_t bytes() const { return header.elements() * size_of(header.type); }
};

/// A zip archive of .npy files as numpy.savez and savez_compressed write it.
class NpzArchive {
 public:
  /// Throws ConfigError naming the file, and the member: no zip archive, truncated, encrypted, a member that is not
  /// what parse_npy_header reads.
  static NpzArchive open(const std::filesystem::path& path);
  /// The same for a file's bytes, which the caller keeps alive.
  static NpzArchive from_bytes(std::span<const std::byte> file, const std::string& name);
  ~NpzArchive();
  NpzArchive(NpzArchive&&) noexcept;
  NpzArchive& operator=(NpzArchive&&) noexcept;

  [[nodiscard]] const std::string& name() const;
  /// In the archive's order.
  [[nodiscard]] std::span<const NpzMember> members() const;
  /// Null where there is none of that name.
  [[nodiscard]] const NpzMember* find(std::string_view name) const;
  /// The same; throws ConfigError naming the archive where it is not there.
  [[nodiscard]] const NpzMember& at(std::string_view name) const;

  /// Passes the array's bytes on, piece by piece, each of at most 1 MiB and a multiple of `unit` bytes. Checks the
  /// archive's checksum.
  void read(const NpzMember& member, std::size_t unit,
            const std::function<void(std::span<const std::byte>)>& sink) const;
  /// A small array of integers. Throws ConfigError where it is of floats, or has other dimensions.
  [[nodiscard]] std::vector<std::int64_t> integers(const NpzMember& member, std::size_t dimensions) const;

 private:
  struct State;
  explicit NpzArchive(std::unique_ptr<State> state);
  static NpzArchive read_directory(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

/// Names of all files in a zip archive, arrays or not; empty where it is none.
std::vector<std::string> zip_names(const std::filesystem::path& path);

/// One array to write; the bytes are asked for when it is its turn.
struct NpzArray {
  std::string name;
  NpyType type;
  std::vector<std::size_t> shape;
  /// Appends at most about 1 MiB of the array's bytes, the next ones with each call; nothing more at the end.
  std::function<void(std::string&)> next;
};

/// Writes arrays as numpy.savez does (not compressed), beside the path and renamed into place. Throws ConfigError.
void write_npz(const std::filesystem::path& path, std::vector<NpzArray> arrays);

}  // namespace moesim
