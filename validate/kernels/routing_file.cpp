#include "validate/kernels/routing_file.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "sim/core/error.hpp"

namespace moesim::bench {
namespace {

constexpr std::int64_t kMostExperts = 65536;

[[noreturn]] void fail(std::string_view name, const std::string& message) {
  throw ConfigError({std::string(name), ""}, message);
}

/// What stands between `key` and the next of `ends` in the header's Python dictionary.
std::string_view field(std::string_view header, std::string_view key, std::string_view ends) {
  const std::size_t at = header.find(key);
  if (at == std::string_view::npos) {
    return {};
  }
  std::string_view rest = header.substr(at + key.size());
  const std::size_t begin = rest.find_first_not_of(" :");
  if (begin == std::string_view::npos) {
    return {};
  }
  rest = rest.substr(begin);
  return rest.substr(0, rest.find_first_of(ends));
}

std::vector<std::int64_t> shape_of(std::string_view name, std::string_view text) {
  std::vector<std::int64_t> shape;
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  while (at < end) {
    if (*at == ' ' || *at == ',' || *at == '(') {
      ++at;
      continue;
    }
    std::int64_t extent = 0;
    const auto [next, fault] = std::from_chars(at, end, extent);
    if (fault != std::errc() || extent < 0) {
      fail(name, "expected a shape of whole numbers, found (" + std::string(text) + ")");
    }
    shape.push_back(extent);
    at = next;
  }
  return shape;
}

template <class T>
void convert(Routing& out, std::span<const unsigned char> data, std::string_view name) {
  for (std::size_t i = 0; i < out.experts.size(); ++i) {
    T value{};
    std::memcpy(&value, data.data() + i * sizeof(T), sizeof(T));
    const auto expert = static_cast<std::int64_t>(value);
    if (expert < 0 || expert >= kMostExperts) {
      fail(name, "expected ids of experts between 0 and 65535, found " + std::to_string(expert) + " at element " +
                     std::to_string(i));
    }
    out.experts[i] = static_cast<std::int32_t>(expert);
    out.highest = std::max(out.highest, out.experts[i]);
  }
}

}  // namespace

Routing parse_routing(std::string_view name, std::span<const unsigned char> content) {
  constexpr std::string_view kMagic = "\x93NUMPY";
  constexpr std::size_t kPreamble = 12;
  if (content.size() < kPreamble || std::memcmp(content.data(), kMagic.data(), kMagic.size()) != 0) {
    fail(name, "expected an .npy file, found another beginning");
  }
  const int version = content[6];
  if (version < 1 || version > 3) {
    fail(name, "expected .npy version 1, 2 or 3, found " + std::to_string(version));
  }
  const std::size_t begin = version == 1 ? 10 : 12;
  std::size_t length = content[8] | static_cast<std::size_t>(content[9]) << 8;
  if (version > 1) {
    length |= static_cast<std::size_t>(content[10]) << 16 | static_cast<std::size_t>(content[11]) << 24;
  }
  if (begin + length > content.size()) {
    fail(name, "expected a whole .npy header, found a file that is cut off");
  }
  const std::string_view header(reinterpret_cast<const char*>(content.data()) + begin, length);
  const std::string_view type = field(header, "'descr'", ",}");
  const std::string_view order = field(header, "'fortran_order'", ",}");
  const std::vector<std::int64_t> shape = shape_of(name, field(header, "'shape'", ")"));
  if (!order.starts_with("False")) {
    fail(name, "expected a row-major array (fortran_order False)");
  }
  if (shape.size() != 3) {
    fail(name, "expected the shape [tokens, layers, k], found " + std::to_string(shape.size()) + " dimensions");
  }
  Routing out;
  out.tokens = shape[0];
  out.layers = shape[1];
  out.k = shape[2];
  constexpr std::int64_t kMostTokens = std::int64_t{1} << 32;
  constexpr std::int64_t kMostLayers = 1024;
  constexpr std::int64_t kMostChoices = 256;
  if (out.tokens < 1 || out.layers < 1 || out.k < 1 || out.tokens > kMostTokens || out.layers > kMostLayers ||
      out.k > kMostChoices) {
    fail(name, "expected tokens, up to 1024 layers and up to 256 choices, found [" + std::to_string(out.tokens) + ", " +
                   std::to_string(out.layers) + ", " + std::to_string(out.k) + "]");
  }
  const bool one = type == "'|u1'" || type == "'<u1'";
  const bool two = type == "'<i2'" || type == "'<u2'";
  const bool four = type == "'<i4'";
  const bool eight = type == "'<i8'";
  if (!one && !two && !four && !eight) {
    fail(name, "expected uint8, int16, uint16, int32 or int64, little-endian, found " + std::string(type));
  }
  const std::size_t size = one ? 1 : two ? 2 : four ? 4 : 8;
  const auto count = static_cast<std::size_t>(out.tokens * out.layers * out.k);
  const std::span<const unsigned char> data = content.subspan(begin + length);
  if (data.size() != count * size) {
    fail(name, "expected " + std::to_string(count * size) + " bytes of data, found " + std::to_string(data.size()));
  }
  out.experts.resize(count);
  if (one) {
    convert<std::uint8_t>(out, data, name);
  } else if (type == "'<i2'") {
    convert<std::int16_t>(out, data, name);
  } else if (two) {
    convert<std::uint16_t>(out, data, name);
  } else if (four) {
    convert<std::int32_t>(out, data, name);
  } else {
    convert<std::int64_t>(out, data, name);
  }
  return out;
}

Routing read_routing(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file || !std::filesystem::is_regular_file(path)) {
    fail(path, "expected a file, found none that can be read");
  }
  const std::vector<unsigned char> content((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return parse_routing(path, content);
}

std::vector<std::int64_t> expert_counts(const Routing& routing, std::int64_t layer, std::int64_t first,
                                        std::int64_t count, std::int64_t experts) {
  ensure(layer < routing.layers && first + count <= routing.tokens && routing.highest < experts,
         "routing beyond what was recorded");
  std::vector<std::int64_t> counts(static_cast<std::size_t>(experts));
  for (std::int64_t token = first; token < first + count; ++token) {
    for (std::int64_t choice = 0; choice < routing.k; ++choice) {
      ++counts[static_cast<std::size_t>(routing.at(token, layer, choice))];
    }
  }
  return counts;
}

std::vector<std::int64_t> rank_rows(const std::vector<std::int64_t>& counts, std::int64_t ranks, std::int64_t rank) {
  const auto experts = static_cast<std::int64_t>(counts.size());
  ensure(ranks > 0 && experts % ranks == 0 && rank < ranks, "ranks that do not share the experts evenly");
  const std::int64_t local = experts / ranks;
  return {counts.begin() + rank * local, counts.begin() + (rank + 1) * local};
}

}  // namespace moesim::bench
