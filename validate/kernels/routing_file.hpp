#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moesim::bench {

/// Which experts tokens chose, [tokens, layers, k].
struct Routing {
  std::int64_t tokens = 0;
  std::int64_t layers = 0;
  std::int64_t k = 0;
  std::vector<std::int32_t> experts;  ///< row-major
  std::int32_t highest = 0;           ///< expert id

  [[nodiscard]] std::int32_t at(std::int64_t token, std::int64_t layer, std::int64_t choice) const {
    return experts[static_cast<std::size_t>((token * layers + layer) * k + choice)];
  }
};

/// Reads .npy version 1 to 3 (numpy.lib.format) of uint8, int16, uint16, int32 or int64, little-endian and row-major.
/// Throws ConfigError naming `name`: another format, type or number of dimensions, a file cut off, an id below 0 or
/// above 65535.
Routing parse_routing(std::string_view name, std::span<const unsigned char> content);
Routing read_routing(const std::string& path);

/// Rows per expert of tokens first … first + count − 1 at one layer.
std::vector<std::int64_t> expert_counts(const Routing& routing, std::int64_t layer, std::int64_t first,
                                        std::int64_t count, std::int64_t experts);

/// The share of rank `rank` of `ranks`, where rank r holds experts r·E/R … (r+1)·E/R − 1.
std::vector<std::int64_t> rank_rows(const std::vector<std::int64_t>& counts, std::int64_t ranks, std::int64_t rank);

}  // namespace moesim::bench
