#include "validate/kernels/launch.hpp"
#include "validate/kernels/launch_check.cuh"
#include "validate/kernels/values.hpp"

namespace moesim::bench {
namespace {

constexpr int kThreads = 256;

int blocks_for(std::size_t items) {
  const std::size_t wanted = (items + kThreads - 1) / kThreads;
  const auto most = static_cast<std::size_t>(multiprocessor_count()) * 8;
  return static_cast<int>(wanted < 1 ? 1 : wanted < most ? wanted : most);
}

__global__ void fill_bf16(std::uint16_t* out, std::size_t count, std::uint64_t seed) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count;
       i += std::size_t{gridDim.x} * blockDim.x) {
    out[i] = random_bf16(seed, i);
  }
}
__global__ void fill_e4m3(std::uint8_t* out, std::size_t count, std::uint64_t seed) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count;
       i += std::size_t{gridDim.x} * blockDim.x) {
    out[i] = random_e4m3(seed, i);
  }
}
__global__ void fill_scales(float* out, std::size_t count, std::uint64_t seed) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count;
       i += std::size_t{gridDim.x} * blockDim.x) {
    out[i] = random_scale(seed, i);
  }
}

__device__ bool is_nan(std::uint16_t bf16) { return (bf16 & 0x7fff) > 0x7f80; }
__device__ bool is_nan(float value) { return value != value; }

template <class T>
__global__ void count_nan(const T* values, std::size_t count, unsigned long long* found) {
  unsigned long long mine = 0;
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count;
       i += std::size_t{gridDim.x} * blockDim.x) {
    mine += is_nan(values[i]) ? 1 : 0;
  }
  if (mine > 0) {
    atomicAdd(found, mine);
  }
}

/// Four independent loads are under way before the first is used.
__global__ void read_all(const uint4* in, std::size_t count, unsigned long long* total) {
  unsigned long long mine = 0;
  const std::size_t stride = std::size_t{gridDim.x} * blockDim.x;
  std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x;
  for (; i + 3 * stride < count; i += 4 * stride) {
    uint4 v[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      v[j] = in[i + j * stride];
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      mine += static_cast<unsigned long long>(v[j].x) + v[j].y + v[j].z + v[j].w;
    }
  }
  for (; i < count; i += stride) {
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

__global__ void write_all(uint4* out, std::size_t count, unsigned value) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count;
       i += std::size_t{gridDim.x} * blockDim.x) {
    out[i] = make_uint4(value, value, value, value);
  }
}

__global__ void copy_all(uint4* out, const uint4* in, std::size_t count) {
  const std::size_t stride = std::size_t{gridDim.x} * blockDim.x;
  std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x;
  for (; i + 3 * stride < count; i += 4 * stride) {
    uint4 v[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      v[j] = in[i + j * stride];
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      out[i + j * stride] = v[j];
    }
  }
  for (; i < count; i += stride) {
    out[i] = in[i];
  }
}

__global__ void nothing() {}

__device__ unsigned long long now_ns() {
  unsigned long long time = 0;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(time));
  return time;
}

/// Every block ends at the host's word, or when its time is up, whatever else happens.
__global__ void __launch_bounds__(512)
    hold(HoldState* state, uint4* scratch, std::size_t per_block, unsigned long long limit_ns) {
  extern __shared__ unsigned char occupied[];
  volatile HoldState* const shared_state = state;
  __shared__ int go_on;
  const unsigned long long begin = now_ns();
  if (threadIdx.x == 0) {
    occupied[0] = 0;
    shared_state->blocks[blockIdx.x].started = 1;
    __threadfence_system();
  }
  uint4* const own = scratch == nullptr ? nullptr : scratch + blockIdx.x * per_block;
  const std::size_t half = per_block / 2;
  unsigned long long moved = 0;
  std::size_t at = 0;
  constexpr std::size_t kPortion = 16384;  // of 16 bytes, between looks at the flag
  while (true) {
    if (threadIdx.x == 0) {
      go_on = shared_state->stop == 0 && now_ns() - begin < limit_ns ? 1 : 0;
    }
    __syncthreads();
    const bool more = go_on != 0;
    __syncthreads();
    if (!more) {
      break;
    }
    if (own == nullptr) {
      __nanosleep(500);
      continue;
    }
    const std::size_t end = at + kPortion < half ? at + kPortion : half;
    for (std::size_t i = at + threadIdx.x; i < end; i += 4 * blockDim.x) {
      uint4 v[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const std::size_t from = i + j * blockDim.x;
        v[j] = from < end ? own[from] : make_uint4(0, 0, 0, 0);
      }
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const std::size_t to = i + j * blockDim.x;
        if (to < end) {
          own[half + to] = v[j];
        }
      }
    }
    moved += 2 * sizeof(uint4) * (end - at);
    at = end == half ? 0 : end;
  }
  if (threadIdx.x == 0) {
    shared_state->blocks[blockIdx.x].bytes = moved;
    shared_state->blocks[blockIdx.x].nanoseconds = now_ns() - begin;
    __threadfence_system();
  }
}

}  // namespace

void launch_fill_bf16(std::uint16_t* out, std::size_t count, std::uint64_t seed, cudaStream_t stream) {
  fill_bf16<<<blocks_for(count), kThreads, 0, stream>>>(out, count, seed);
  check_launch("fill");
}
void launch_fill_e4m3(std::uint8_t* out, std::size_t count, std::uint64_t seed, cudaStream_t stream) {
  fill_e4m3<<<blocks_for(count), kThreads, 0, stream>>>(out, count, seed);
  check_launch("fill");
}
void launch_fill_scales(float* out, std::size_t count, std::uint64_t seed, cudaStream_t stream) {
  fill_scales<<<blocks_for(count), kThreads, 0, stream>>>(out, count, seed);
  check_launch("fill");
}
void launch_count_nan_bf16(const std::uint16_t* values, std::size_t count, unsigned long long* found,
                           cudaStream_t stream) {
  count_nan<<<blocks_for(count), kThreads, 0, stream>>>(values, count, found);
  check_launch("count of NaN");
}
void launch_count_nan_float(const float* values, std::size_t count, unsigned long long* found, cudaStream_t stream) {
  count_nan<<<blocks_for(count), kThreads, 0, stream>>>(values, count, found);
  check_launch("count of NaN");
}

void launch_read(const void* in, std::size_t bytes, unsigned long long* sum, cudaStream_t stream) {
  const std::size_t count = bytes / sizeof(uint4);
  read_all<<<blocks_for(count), kThreads, 0, stream>>>(static_cast<const uint4*>(in), count, sum);
  check_launch("read");
}
void launch_write(void* out, std::size_t bytes, unsigned value, cudaStream_t stream) {
  const std::size_t count = bytes / sizeof(uint4);
  write_all<<<blocks_for(count), kThreads, 0, stream>>>(static_cast<uint4*>(out), count, value);
  check_launch("write");
}
void launch_copy(void* out, const void* in, std::size_t bytes, cudaStream_t stream) {
  const std::size_t count = bytes / sizeof(uint4);
  copy_all<<<blocks_for(count), kThreads, 0, stream>>>(static_cast<uint4*>(out), static_cast<const uint4*>(in), count);
  check_launch("copy");
}
void launch_nothing(cudaStream_t stream) {
  nothing<<<1, 32, 0, stream>>>();
  check_launch("empty kernel");
}

void launch_hold(Holder holder, int blocks, HoldState* state, unsigned char* scratch, std::size_t bytes_per_block,
                 unsigned long long limit_ns, cudaStream_t stream) {
  if (blocks > HoldState::kMostBlocks) {
    throw Unsupported("holder of SMs: more blocks than it keeps account of");
  }
  int device = 0;
  int most = 0;
  check(cudaGetDevice(&device), "device");
  check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "shared memory");
  const int shared = most - 1024;  // what the kernel declares besides comes on top
  allow_shared(hold, shared, "holder of SMs");
  hold<<<blocks, 512, shared, stream>>>(state, holder == Holder::kStream ? reinterpret_cast<uint4*>(scratch) : nullptr,
                                        bytes_per_block / sizeof(uint4), limit_ns);
  check_launch("holder of SMs");
}

}  // namespace moesim::bench
