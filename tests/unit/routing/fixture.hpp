#pragma once

#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "tests/scratch.hpp"
#include "workloads/routing/source.hpp"
#include "workloads/routing/statistics.hpp"
#include "workloads/routing/types.hpp"

namespace moesim {

inline std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

/// Max/mean over `ranks` of a step's choices, in the mean over layers.
inline double imbalance_over(const StepRouting& step, std::size_t ranks) {
  double mean = 0.0;
  for (std::size_t layer = 0; layer < step.shape.layers; ++layer) {
    std::vector<double> loads(step.shape.experts, 0.0);
    for (const ExpertIndex expert : step.layer(layer)) {
      loads[expert] += 1.0;
    }
    mean += max_over_mean(rank_loads(loads, ranks)) / static_cast<double>(step.shape.layers);
  }
  return mean;
}

/// A .npy file around a header's text: magic, version, length, text, data.
inline std::string npy_with_header(const std::string& header, const std::string& data, char major = 1) {
  std::string file = "\x93NUMPY";
  file += major;
  file += '\0';
  for (int i = 0; i < (major == 1 ? 2 : 4); ++i) {
    file += static_cast<char>(header.size() >> (8 * i) & 0xff);
  }
  return file + header + data;
}

inline std::string npy_header(std::string_view descr, std::string_view shape, std::string_view fortran = "False") {
  return "{'descr': '" + std::string(descr) + "', 'fortran_order': " + std::string(fortran) + ", 'shape': (" +
         std::string(shape) + "), }\n";
}

/// Elements of type T as the machine stores them; all that this runs on are little-endian.
template <class T>
std::string raw(const std::vector<long long>& values) {
  std::string data;
  for (const long long value : values) {
    const T element = static_cast<T>(value);
    char part[sizeof(T)];
    std::memcpy(part, &element, sizeof(T));
    data.append(part, sizeof(T));
  }
  return data;
}

/// The text of the ConfigError or ModelError that `action` throws; "nothing" if it throws none.
template <class Action>
std::string error_of(const Action& action) {
  try {
    action();
  } catch (const ConfigError& error) {
    return error.what();
  } catch (const ModelError& error) {
    return error.what();
  }
  return "nothing";
}

/// A folder of its own for one test, removed with it.
class Folder {
 public:
  explicit Folder(const std::string& name) : path_(moesim::test::scratch_path(name)) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] std::filesystem::path write(const std::string& name, std::string_view content) const {
    write_file(path_ / name, content);
    return path_ / name;
  }
  [[nodiscard]] std::filesystem::path at(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// A decode batch: `count` tokens of as many sequences.
inline TokenBatch decode_batch(std::size_t count) {
  TokenBatch batch;
  for (std::size_t i = 0; i < count; ++i) {
    batch.tokens.push_back({static_cast<std::uint32_t>(i), 100});
  }
  return batch;
}

inline void append_run(TokenBatch& batch, std::uint32_t sequence, std::uint32_t count, std::uint32_t from = 0) {
  for (std::uint32_t i = 0; i < count; ++i) {
    batch.tokens.push_back({sequence, from + i});
  }
}

/// Public recordings; absent where only the repository was checked out.
inline std::filesystem::path recordings() { return std::filesystem::path(MOESIM_SHARED_DATA) / "routing"; }

#define MOESIM_NEEDS_RECORDINGS()                                      \
  if (!std::filesystem::exists(recordings())) {                        \
    WARN("skipped: no recorded routing at " << recordings().string()); \
    return;                                                            \
  }

}  // namespace moesim
