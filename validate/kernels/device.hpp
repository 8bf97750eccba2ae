#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

/// CUDA's objects with owners, and its return codes as exceptions.
namespace moesim::bench {

/// The GPU or a library refused. What was measured before still stands, but after an error inside a kernel nothing
/// more can run in this process.
class DeviceError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
/// A shape does not fit in what memory is left: it is skipped.
class OutOfMemory : public DeviceError {
 public:
  using DeviceError::DeviceError;
};
/// This GPU, library or build cannot run the case: it is skipped.
class Unsupported : public DeviceError {
 public:
  using DeviceError::DeviceError;
};
/// The device did not answer in time: nothing more can be asked of it.
class Stuck : public DeviceError {
 public:
  using DeviceError::DeviceError;
};
/// There is no GPU that could be used. Exit code 2.
class NoDevice : public DeviceError {
 public:
  using DeviceError::DeviceError;
};

void check(cudaError_t status, const char* what);

class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  /// Throws OutOfMemory with the size and what is free.
  explicit DeviceBuffer(std::size_t bytes);
  DeviceBuffer(DeviceBuffer&& other) noexcept;
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  ~DeviceBuffer();

  template <class T = void>
  [[nodiscard]] T* as() const {
    return static_cast<T*>(pointer_);
  }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  void* pointer_ = nullptr;
  std::size_t bytes_ = 0;
};

/// Returns when the bytes have arrived: cudaMemcpy alone may return when it has read pageable memory, and our streams
/// do not wait for the default one.
void copy_to_device(void* to, const void* from, std::size_t bytes);

/// A copy of host values on the device.
template <class T>
DeviceBuffer uploaded(const std::vector<T>& values) {
  DeviceBuffer buffer(values.size() * sizeof(T));
  copy_to_device(buffer.as(), values.data(), buffer.bytes());
  return buffer;
}
template <class T>
std::vector<T> downloaded(const T* from, std::size_t count) {
  std::vector<T> values(count);
  check(cudaMemcpy(values.data(), from, count * sizeof(T), cudaMemcpyDeviceToHost), "copy from the device");
  return values;
}

class Stream {
 public:
  enum class Priority { kNormal, kHigh };
  explicit Stream(Priority priority = Priority::kNormal);
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream();
  [[nodiscard]] cudaStream_t get() const { return stream_; }
  /// Waits for all that was put on it, at most a minute; throws Stuck after that.
  void wait() const;

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event();
  void record(cudaStream_t stream);
  /// At most a minute; throws Stuck after that.
  void wait() const;
  /// Between two recorded events that have come to pass.
  [[nodiscard]] static double seconds_between(const Event& begin, const Event& end);
  [[nodiscard]] cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

struct DeviceFacts {
  std::string name;
  int major = 0;
  int minor = 0;
  int multiprocessors = 0;
  std::size_t memory = 0;
  std::size_t l2_bytes = 0;
  std::size_t shared_per_block = 0;  ///< that a kernel may ask for
  int driver_version = 0;            ///< CUDA version that the driver supports, 1000·major + 10·minor
  int runtime_version = 0;
};
/// Takes device 0. Throws NoDevice: no driver, no GPU, or one older than sm_80.
DeviceFacts open_device();
int device_count();
/// Whether the device still works after a call that failed: not after an error inside a kernel.
bool device_works();

}  // namespace moesim::bench
