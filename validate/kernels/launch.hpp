#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "validate/kernels/arguments.hpp"

/// Puts the kernels on a stream. All throw DeviceError where the launch is refused; nothing here waits for the device.
namespace moesim::bench {

enum class Element { kBf16, kE4m3 };

/// Tiles of 16, 64 or 128 rows: the smallest that holds an expert's average, so that few rows leave few idle.
int tile_rows_for(std::int64_t rows, std::int64_t activated);
void launch_grouped_gemm(const GroupedGemmArguments& args, Element element, Scaling scaling, int tile_rows,
                         cudaStream_t stream);

/// The same with wgmma. Throws Unsupported on all but Hopper.
void launch_grouped_gemm_hopper(const GroupedGemmArguments& args, Element element, Scaling scaling,
                                cudaStream_t stream);

/// Shares of the keys that keep every SM busy, at least kLeastKeys keys each.
int decode_splits(int sequences, int kv_heads, int group, int keys, int multiprocessors);
/// Head dimensions 64 and 128, or latent (576 and 512).
void launch_decode_attention(const DecodeArguments& args, int key_width, cudaStream_t stream);
/// Key widths 128 and 192, value width 128.
void launch_prefill_attention(const PrefillArguments& args, int key_width, cudaStream_t stream);

void launch_top_k(const TopKArguments& args, RouterScore score, cudaStream_t stream);
void launch_permute(const PermuteArguments& args, cudaStream_t stream);
void launch_unpermute(const UnpermuteArguments& args, cudaStream_t stream);
void launch_swiglu(const SwiGluArguments& args, cudaStream_t stream);
void launch_rms_norm(const RmsNormArguments& args, cudaStream_t stream);

/// Sorts copies by expert, stably: order[row] = copy, offsets[e] = first row of expert e, e = 0 … experts. `scratch` is
/// sort_scratch_bytes(); chosen [copies].
std::size_t sort_scratch_bytes(int copies, int experts);
void launch_sort(const int* chosen, int copies, int experts, int* order, int* offsets, void* scratch,
                 std::size_t scratch_bytes, cudaStream_t stream);

/// Elements random_bf16(seed, i) and so on, i = 0 … count − 1 (values.hpp).
void launch_fill_bf16(std::uint16_t* out, std::size_t count, std::uint64_t seed, cudaStream_t stream);
void launch_fill_e4m3(std::uint8_t* out, std::size_t count, std::uint64_t seed, cudaStream_t stream);
void launch_fill_scales(float* out, std::size_t count, std::uint64_t seed, cudaStream_t stream);
/// Adds to *found how many of the values are NaN: what was poisoned and not written, or went wrong.
void launch_count_nan_bf16(const std::uint16_t* values, std::size_t count, unsigned long long* found,
                           cudaStream_t stream);
void launch_count_nan_float(const float* values, std::size_t count, unsigned long long* found, cudaStream_t stream);

/// Bytes are multiples of 16.
void launch_read(const void* in, std::size_t bytes, unsigned long long* sum, cudaStream_t stream);
void launch_write(void* out, std::size_t bytes, unsigned value, cudaStream_t stream);
void launch_copy(void* out, const void* in, std::size_t bytes, cudaStream_t stream);
void launch_nothing(cudaStream_t stream);

/// What blocks that hold SMs say while they run, in host memory that the device sees. Each block writes to its own
/// place: not every bus carries atomic operations.
struct HoldState {
  static constexpr int kMostBlocks = 256;
  struct Block {
    unsigned long long started;
    unsigned long long bytes;  ///< moved, if it streams
    unsigned long long nanoseconds;
  };
  unsigned long long stop;  ///< set by the host: end
  Block blocks[kMostBlocks];
};
enum class Holder {
  kSpin,    ///< occupies its SMs and does nothing
  kStream,  ///< copies `scratch` to and fro, as a communication kernel does
};
/// `blocks` blocks that take an SM each (all of its shared memory) until `state->stop`, at most `limit_ns` long. Those
/// that stream copy half of their `bytes_per_block` of `scratch` to the other half.
void launch_hold(Holder holder, int blocks, HoldState* state, unsigned char* scratch, std::size_t bytes_per_block,
                 unsigned long long limit_ns, cudaStream_t stream);

}  // namespace moesim::bench
