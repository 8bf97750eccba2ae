#include "validate/kernels/device.hpp"

#include <chrono>
#include <thread>
#include <utility>

namespace moesim::bench {
namespace {

constexpr std::chrono::seconds kLongestWait{60};

/// Asks again and again instead of blocking, so that a kernel that hangs does not take the whole lease with it.
template <class Query>
void wait_for(const Query& query, const char* what) {
  const auto limit = std::chrono::steady_clock::now() + kLongestWait;
  for (cudaError_t status = query(); status != cudaSuccess; status = query()) {
    if (status != cudaErrorNotReady) {
      check(status, what);
    }
    if (std::chrono::steady_clock::now() > limit) {
      throw Stuck(std::string(what) + ": not done after a minute");
    }
    std::this_thread::yield();
  }
}

}  // namespace

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) {
    return;
  }
  const std::string text = std::string(what) + ": " + cudaGetErrorString(status);
  if (status == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());  // not sticky
    throw OutOfMemory(text);
  }
  throw DeviceError(text);
}

DeviceBuffer::DeviceBuffer(std::size_t bytes) : bytes_(bytes) {
  const cudaError_t status = cudaMalloc(&pointer_, bytes == 0 ? 1 : bytes);
  if (status == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());
    std::size_t free = 0;
    std::size_t total = 0;
    static_cast<void>(cudaMemGetInfo(&free, &total));
    throw OutOfMemory("out of device memory: " + std::to_string(bytes >> 20) + " MiB more are needed, " +
                      std::to_string(free >> 20) + " MiB are free");
  }
  check(status, "device memory");
}
DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept
    : pointer_(std::exchange(other.pointer_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  std::swap(pointer_, other.pointer_);
  std::swap(bytes_, other.bytes_);
  return *this;
}
DeviceBuffer::~DeviceBuffer() { static_cast<void>(cudaFree(pointer_)); }

Stream::Stream(Priority priority) {
  int least = 0;
  int greatest = 0;
  check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "stream priorities");
  check(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, priority == Priority::kHigh ? greatest : least),
        "stream");
}
Stream::~Stream() { static_cast<void>(cudaStreamDestroy(stream_)); }
void Stream::wait() const {
  wait_for([&] { return cudaStreamQuery(stream_); }, "work on the device");
}

Event::Event() { check(cudaEventCreate(&event_), "event"); }
Event::~Event() { static_cast<void>(cudaEventDestroy(event_)); }
void Event::record(cudaStream_t stream) { check(cudaEventRecord(event_, stream), "event"); }
void Event::wait() const {
  wait_for([&] { return cudaEventQuery(event_); }, "work on the device");
}
double Event::seconds_between(const Event& begin, const Event& end) {
  float milliseconds = 0.0F;
  check(cudaEventElapsedTime(&milliseconds, begin.event_, end.event_), "time between events");
  return static_cast<double>(milliseconds) * 1e-3;
}

void copy_to_device(void* to, const void* from, std::size_t bytes) {
  check(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice), "copy to the device");
  check(cudaStreamSynchronize(nullptr), "copy to the device");
}

bool device_works() {
  static_cast<void>(cudaGetLastError());
  return cudaDeviceSynchronize() == cudaSuccess;
}

int device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

DeviceFacts open_device() {
  DeviceFacts facts;
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) {
    throw NoDevice(std::string("expected an NVIDIA driver and a GPU, found none: ") + cudaGetErrorString(status));
  }
  if (count == 0) {
    throw NoDevice("expected a GPU, found none");
  }
  check(cudaSetDevice(0), "device 0");
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, 0), "device 0");
  facts.name = properties.name;
  facts.major = properties.major;
  facts.minor = properties.minor;
  facts.multiprocessors = properties.multiProcessorCount;
  facts.memory = properties.totalGlobalMem;
  facts.l2_bytes = static_cast<std::size_t>(properties.l2CacheSize);
  facts.shared_per_block = properties.sharedMemPerBlockOptin;
  check(cudaDriverGetVersion(&facts.driver_version), "driver version");
  check(cudaRuntimeGetVersion(&facts.runtime_version), "runtime version");
  constexpr int kOldest = 8;  // mma.sync in bf16 and cp.async
  if (facts.major < kOldest) {
    throw NoDevice("expected a GPU of compute capability 8.0 or newer, found " + facts.name + " with " +
                   std::to_string(facts.major) + "." + std::to_string(facts.minor));
  }
  return facts;
}

}  // namespace moesim::bench
