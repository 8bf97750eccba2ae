#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "workloads/routing/npy.hpp"

namespace moesim {

/// One tensor of a .safetensors file.
struct SafeTensor {
  std::string name;
  NpyType type = NpyType::kUint8;
  std::vector<std::size_t> shape;
  std::span<const std::byte> data;
};

/// Reads the header of a .safetensors file: eight bytes of length (little-endian), so many of JSON
///   {"name": {"dtype": "I32", "shape": [..], "data_offsets": [begin, end]}, …, "__metadata__": {…}},
/// then the data. Throws ConfigError naming `name`: truncated, offsets outside the data or not those of the shape,
/// other element types than integers and F32, F64. Source: github.com/huggingface/safetensors, README, "Format".
std::vector<SafeTensor> parse_safetensors(std::span<const std::byte> file, std::string_view name);

}  // namespace moesim
