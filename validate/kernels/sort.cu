#include <cub/device/device_radix_sort.cuh>

#include "validate/kernels/launch.hpp"
#include "validate/kernels/launch_check.cuh"

/// The only file with CUB, whose headers take longer to compile than all else here.
namespace moesim::bench {
namespace {

/// Values that the sort carries: the copies' own numbers.
__global__ void number_copies(int* out, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) {
    out[i] = i;
  }
}

/// offsets[e] = first place of an expert that is not below e.
__global__ void find_offsets(const int* sorted, int count, int experts, int* offsets) {
  const int expert = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (expert > experts) {
    return;
  }
  int low = 0;
  int high = count;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (sorted[middle] < expert) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  offsets[expert] = low;
}

int bits_for(int experts) {
  int bits = 1;
  while ((1 << bits) < experts) {
    ++bits;
  }
  return bits;
}

constexpr std::size_t kAlignment = 256;
std::size_t aligned(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

std::size_t library_bytes(int copies, int experts) {
  std::size_t bytes = 0;
  check(cub::DeviceRadixSort::SortPairs(nullptr, bytes, static_cast<const int*>(nullptr), static_cast<int*>(nullptr),
                                        static_cast<const int*>(nullptr), static_cast<int*>(nullptr), copies, 0,
                                        bits_for(experts)),
        "size of the sort");
  return aligned(bytes);
}

}  // namespace

std::size_t sort_scratch_bytes(int copies, int experts) {
  return library_bytes(copies, experts) + 2 * aligned(sizeof(int) * static_cast<std::size_t>(copies));
}

void launch_sort(const int* chosen, int copies, int experts, int* order, int* offsets, void* scratch,
                 std::size_t scratch_bytes, cudaStream_t stream) {
  const std::size_t array = aligned(sizeof(int) * static_cast<std::size_t>(copies));
  auto* const numbers = static_cast<int*>(scratch);
  auto* const sorted = reinterpret_cast<int*>(static_cast<unsigned char*>(scratch) + array);
  std::size_t rest = scratch_bytes - 2 * array;
  number_copies<<<(copies + 255) / 256, 256, 0, stream>>>(numbers, copies);
  check_launch("numbering of copies");
  check(cub::DeviceRadixSort::SortPairs(static_cast<unsigned char*>(scratch) + 2 * array, rest, chosen, sorted, numbers,
                                        order, copies, 0, bits_for(experts), stream),
        "sort by expert");
  find_offsets<<<(experts + 256) / 256, 256, 0, stream>>>(sorted, copies, experts, offsets);
  check_launch("offsets of experts");
}

}  // namespace moesim::bench
