#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moesim {

/// Element types of .npy files that anything here reads, all little-endian.
enum class NpyType { kUint8, kInt8, kUint16, kInt16, kUint32, kInt32, kUint64, kInt64, kFloat32, kFloat64 };

[[nodiscard]] std::size_t size_of(NpyType type);
[[nodiscard]] bool is_integer(NpyType type);
/// As NumPy calls it: "uint8".
[[nodiscard]] std::string_view name_of(NpyType type);

struct NpyHeader {
  NpyType type = NpyType::kUint8;
  std::vector<std::size_t> shape;
  std::size_t data_offset = 0;

  [[nodiscard]] std::size_t elements() const;
};

/// Reads the header of a .npy file, format 1.0, 2.0 or 3.0 (numpy.lib.format), and checks that just the array it
/// promises follows: C order, little-endian. Throws ConfigError naming `name` for everything else.
NpyHeader parse_npy_header(std::span<const std::byte> file, std::string_view name);
/// The same for a file of `size` bytes of which only the beginning is at hand, the header included.
NpyHeader parse_npy_header(std::span<const std::byte> beginning, std::string_view name, std::size_t size);

/// The header of a .npy file, format 1.0: data of `shape` follow it at a multiple of 64 bytes.
std::string npy_head(NpyType type, std::span<const std::size_t> shape);

}  // namespace moesim
