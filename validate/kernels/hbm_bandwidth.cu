// Bandwidth of a GPU's memory: read (a sum), write (a fill) and copy, by size. Prints JSON: median of the repetitions
// in bytes per second, where a copy counts the bytes read and written.
//
// Each size is measured over buffers that together exceed the L2 cache several times and are used in turn, so that
// nothing is found in the cache. Every kernel's result is checked on the host before it is timed.

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

constexpr int kThreads = 256;
constexpr int kRepetitions = 21;
constexpr std::size_t kRotated = std::size_t{1} << 30;  // bytes that the buffers of one size span at least

void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) {
    std::fprintf(stderr, "hbm_bandwidth: %s: %s\n", what, cudaGetErrorString(status));
    std::exit(2);
  }
}

__global__ void fill(uint4* out, std::size_t count, unsigned value) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count;
       i += std::size_t{gridDim.x} * blockDim.x) {
    out[i] = make_uint4(value, value, value, value);
  }
}

__global__ void copy(uint4* out, const uint4* in, std::size_t count) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count;
       i += std::size_t{gridDim.x} * blockDim.x) {
    out[i] = in[i];
  }
}

__global__ void sum(unsigned long long* total, const uint4* in, std::size_t count) {
  unsigned long long mine = 0;
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count;
       i += std::size_t{gridDim.x} * blockDim.x) {
    const uint4 v = in[i];
    mine += static_cast<unsigned long long>(v.x) + v.y + v.z + v.w;
  }
  for (int offset = 16; offset > 0; offset /= 2) {
    mine += __shfl_down_sync(0xffffffffu, mine, offset);
  }
  if (threadIdx.x % 32 == 0) {
    atomicAdd(total, mine);
  }
}

/// Median time in seconds of `launch(buffer index)` over the rotated buffers.
template <class Launch>
double median_seconds(std::size_t buffers, Launch launch) {
  cudaEvent_t begin;
  cudaEvent_t end;
  check(cudaEventCreate(&begin), "event");
  check(cudaEventCreate(&end), "event");
  std::vector<float> times;
  for (int repetition = -3; repetition < kRepetitions; ++repetition) {  // three to warm up
    check(cudaEventRecord(begin), "record");
    for (std::size_t b = 0; b < buffers; ++b) {
      launch(b);
    }
    check(cudaEventRecord(end), "record");
    check(cudaEventSynchronize(end), "kernel");
    float milliseconds = 0.0F;
    check(cudaEventElapsedTime(&milliseconds, begin, end), "elapsed time");
    if (repetition >= 0) {
      times.push_back(milliseconds);
    }
  }
  check(cudaEventDestroy(begin), "event");
  check(cudaEventDestroy(end), "event");
  std::nth_element(times.begin(), times.begin() + kRepetitions / 2, times.end());
  return times[kRepetitions / 2] * 1e-3 / static_cast<double>(buffers);
}

/// Whether fill, copy and sum do what they say, on the first buffers.
bool correct(uint4* a, uint4* b, std::size_t count, int blocks, unsigned long long* total) {
  const unsigned value = 0x01020304u;
  fill<<<blocks, kThreads>>>(a, count, value);
  copy<<<blocks, kThreads>>>(b, a, count);
  check(cudaMemset(total, 0, sizeof *total), "memset");
  sum<<<blocks, kThreads>>>(total, b, count);
  unsigned long long found = 0;
  check(cudaMemcpy(&found, total, sizeof found, cudaMemcpyDeviceToHost), "copy back");
  return found == 4ULL * count * value;
}

}  // namespace

int main() {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, 0), "no GPU");
  const int blocks = properties.multiProcessorCount * 8;
  unsigned long long* total = nullptr;
  check(cudaMalloc(&total, sizeof *total), "memory");
  std::printf("{\"schema\": \"moesim.measurement/1\", \"gpu\": \"%s\", \"rows\": [", properties.name);
  const char* separator = "\n";
  for (std::size_t bytes = std::size_t{1} << 20; bytes <= std::size_t{1} << 32; bytes *= 4) {
    const std::size_t buffers = std::max<std::size_t>(1, kRotated / bytes);
    const std::size_t count = bytes / sizeof(uint4);
    uint4* in = nullptr;
    uint4* out = nullptr;
    if (cudaMalloc(&in, bytes * buffers) != cudaSuccess || cudaMalloc(&out, bytes * buffers) != cudaSuccess) {
      std::fprintf(stderr, "hbm_bandwidth: %zu bytes do not fit, skipped\n", 2 * bytes * buffers);
      static_cast<void>(cudaGetLastError());
      check(cudaFree(in), "free");
      continue;
    }
    if (!correct(in, out, count, blocks, total)) {
      std::fprintf(stderr, "hbm_bandwidth: wrong result at %zu bytes\n", bytes);
      return 1;
    }
    const double size = static_cast<double>(bytes);
    const double read =
        size / median_seconds(buffers, [&](std::size_t b) { sum<<<blocks, kThreads>>>(total, in + b * count, count); });
    const double written =
        size / median_seconds(buffers, [&](std::size_t b) { fill<<<blocks, kThreads>>>(out + b * count, count, 7u); });
    const double copied = 2 * size / median_seconds(buffers, [&](std::size_t b) {
                            copy<<<blocks, kThreads>>>(out + b * count, in + b * count, count);
                          });
    std::printf("%s  {\"bytes\": %zu, \"read\": %.6g, \"write\": %.6g, \"copy\": %.6g, \"unit\": \"B/s\"}", separator,
                bytes, read, written, copied);
    separator = ",\n";
    check(cudaFree(in), "free");
    check(cudaFree(out), "free");
  }
  std::printf("\n]}\n");
  check(cudaFree(total), "free");
  return 0;
}
