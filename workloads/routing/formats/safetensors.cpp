#include "workloads/routing/formats/safetensors.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>

#include "sim/config/codec.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"

namespace moesim {

namespace {

constexpr auto kTensorTypes = std::to_array<std::pair<std::string_view, NpyType>>({{"U8", NpyType::kUint8},
                                                                                   {"I8", NpyType::kInt8},
                                                                                   {"U16", NpyType::kUint16},
                                                                                   {"I16", NpyType::kInt16},
                                                                                   {"U32", NpyType::kUint32},
                                                                                   {"I32", NpyType::kInt32},
                                                                                   {"U64", NpyType::kUint64},
                                                                                   {"I64", NpyType::kInt64},
                                                                                   {"F32", NpyType::kFloat32},
                                                                                   {"F64", NpyType::kFloat64}});

struct Entry {
  std::string dtype;
  std::vector<std::size_t> shape;
  std::vector<std::size_t> data_offsets;

  template <class F>
  static void describe(F& f) {
    constexpr double kMost = 0x1p48;  // products with an element's size stay far from overflow
    f.required("dtype", &Entry::dtype, "Type of the elements");
    f.required("shape", &Entry::shape, "Extents", Rules::between(0, kMost));
    f.required("data_offsets", &Entry::data_offsets, "Begin and end in the data", Rules::between(0, kMost));
  }
};

/// Bytes of a tensor; absent where they are more than a file can hold.
std::optional<std::size_t> bytes_of(const std::vector<std::size_t>& shape, std::size_t size) {
  std::size_t bytes = size;
  for (const std::size_t extent : shape) {
    if (extent != 0 && bytes > std::numeric_limits<std::size_t>::max() / extent) {
      return std::nullopt;
    }
    bytes *= extent;
  }
  return bytes;
}

}  // namespace

std::vector<SafeTensor> parse_safetensors(std::span<const std::byte> file, std::string_view name) {
  const std::string file_name(name);
  constexpr std::size_t kPrefix = 8;
  constexpr std::size_t kMostHeader = 100'000'000;  // the format's own limit
  std::size_t length = 0;
  for (std::size_t i = 0; i < std::min(kPrefix, file.size()); ++i) {
    length |= static_cast<std::size_t>(file[i]) << (8 * i);
  }
  if (file.size() < kPrefix || length > kMostHeader || length > file.size() - kPrefix) {
    throw ConfigError(
        {file_name, {}},
        fmt::format("expected a .safetensors header (its length in 8 bytes, then JSON), found a file of {} "
                    "bytes that {}",
                    file.size(), file.size() < kPrefix ? "is shorter" : "is truncated, or of another kind"));
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kPrefix, length);
  const Document document = Document::parse(file_name, text);
  const std::span<const std::byte> data = file.subspan(kPrefix + length);
  std::vector<Diagnostic> faults;
  const Cursor root(document, faults);
  if (!root.value().is_object()) {
    root.expected("an object of tensors");
  }
  std::vector<SafeTensor> tensors;
  for (const auto& [key, value] : root.value().items()) {
    if (key == "__metadata__" || !faults.empty()) {
      continue;
    }
    const Cursor here = root.member(key);
    Entry entry;
    if (!Codec<Entry>::decode(here, {}, entry)) {
      continue;
    }
    const auto type = std::find_if(kTensorTypes.begin(), kTensorTypes.end(),
                                   [&](const auto& known) { return known.first == entry.dtype; });
    if (type == kTensorTypes.end()) {
      here.member("dtype").expected("an integer type or F32, F64");
      continue;
    }
    const auto bytes = bytes_of(entry.shape, size_of(type->second));
    const auto& offsets = entry.data_offsets;
    if (offsets.size() != 2 || offsets[0] > offsets[1] || bytes != offsets[1] - offsets[0]) {
      here.fail(fmt::format("expected offsets of the bytes of {} [{}], found [{}]", entry.dtype,
                            fmt::join(entry.shape, ", "), fmt::join(offsets, ", ")));
      continue;
    }
    if (offsets[1] > data.size()) {
      here.fail(
          fmt::format("expected data up to byte {}, found {} bytes: the file is truncated", offsets[1], data.size()));
      continue;
    }
    tensors.push_back({key, type->second, entry.shape, data.subspan(offsets[0], *bytes)});
  }
  if (!faults.empty()) {
    throw ConfigError(std::move(faults));
  }
  return tensors;
}

}  // namespace moesim
