#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "validate/kernels/device.hpp"
#include "validate/kernels/harness.hpp"
#include "validate/kernels/launch.hpp"
#include "validate/kernels/reference.hpp"
#include "validate/kernels/values.hpp"

/// Inputs and outputs of cases, in sets, and samples of them on the host.
namespace moesim::bench {

/// `sets` arrays of `count` elements in one allocation, each aligned to 256 bytes.
template <class T>
class Tensor {
 public:
  Tensor() = default;
  Tensor(std::size_t sets, std::size_t count)
      : count_(count), stride_((count * sizeof(T) + 255) / 256 * 256), buffer_(sets * stride_) {}
  [[nodiscard]] T* at(std::size_t set) const {
    return reinterpret_cast<T*>(buffer_.as<unsigned char>() + set * stride_);
  }
  [[nodiscard]] std::size_t count() const { return count_; }
  /// All bits set: NaN in every type here but 4-byte integers, which become −1.
  void poison(cudaStream_t stream) const {
    check(cudaMemsetAsync(buffer_.as(), 0xff, buffer_.bytes(), stream), "poisoning of outputs");
  }

 private:
  std::size_t count_ = 0;
  std::size_t stride_ = 0;
  DeviceBuffer buffer_;
};

/// One seed for each tensor and set of a case.
inline std::uint64_t tensor_seed(std::uint64_t seed, std::uint64_t tensor, std::size_t set) {
  return seed * 1000003ULL + tensor * 4099ULL + set;
}

inline void fill(const Tensor<std::uint16_t>& tensor, std::size_t sets, std::uint64_t seed, std::uint64_t id,
                 cudaStream_t stream) {
  for (std::size_t set = 0; set < sets; ++set) {
    launch_fill_bf16(tensor.at(set), tensor.count(), tensor_seed(seed, id, set), stream);
  }
}
inline void fill(const Tensor<std::uint8_t>& tensor, std::size_t sets, std::uint64_t seed, std::uint64_t id,
                 cudaStream_t stream) {
  for (std::size_t set = 0; set < sets; ++set) {
    launch_fill_e4m3(tensor.at(set), tensor.count(), tensor_seed(seed, id, set), stream);
  }
}
inline void fill(const Tensor<float>& tensor, std::size_t sets, std::uint64_t seed, std::uint64_t id,
                 cudaStream_t stream) {
  for (std::size_t set = 0; set < sets; ++set) {
    launch_fill_scales(tensor.at(set), tensor.count(), tensor_seed(seed, id, set), stream);
  }
}

/// How many NaN stand in an output.
inline std::uint64_t nan_count(const std::uint16_t* values, std::size_t count, cudaStream_t stream) {
  const DeviceBuffer found = uploaded(std::vector<unsigned long long>{0});
  launch_count_nan_bf16(values, count, found.as<unsigned long long>(), stream);
  check(cudaStreamSynchronize(stream), "count of NaN");
  return downloaded(found.as<unsigned long long>(), 1)[0];
}
inline std::uint64_t nan_count(const float* values, std::size_t count, cudaStream_t stream) {
  const DeviceBuffer found = uploaded(std::vector<unsigned long long>{0});
  launch_count_nan_float(values, count, found.as<unsigned long long>(), stream);
  check(cudaStreamSynchronize(stream), "count of NaN");
  return downloaded(found.as<unsigned long long>(), 1)[0];
}

/// At most `most` indices below `count`, spread, with the first and last among them; other ones for another seed.
inline std::vector<std::int64_t> sampled(std::int64_t count, std::int64_t most, std::uint64_t seed) {
  std::vector<std::int64_t> out;
  if (count <= most) {
    for (std::int64_t i = 0; i < count; ++i) {
      out.push_back(i);
    }
    return out;
  }
  for (std::int64_t i = 0; i < most; ++i) {  // one from each of `most` equal parts
    const std::int64_t begin = i * count / most;
    const std::int64_t end = (i + 1) * count / most;
    out.push_back(begin + hash(seed, static_cast<std::uint64_t>(i)) % (end - begin));
  }
  out.front() = 0;
  out.back() = count - 1;
  return out;
}

/// Row `row` of a matrix of `width` columns, from the device.
template <class T>
std::vector<T> row_from(const T* matrix, std::int64_t row, std::int64_t width) {
  return downloaded(matrix + row * width, static_cast<std::size_t>(width));
}

}  // namespace moesim::bench
