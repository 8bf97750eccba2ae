#pragma once

#include <cstdint>

#include "validate/kernels/arguments.hpp"

/// Causal attention of whole prompts, as FlashAttention-2 lays it out (Dao, arXiv 2307.08691): a block holds 128
/// queries of one head and walks over the keys, 64 at a time; a warp holds 16 queries, whose scores never leave its
/// registers.
///
/// The includer provides the primitives (primitives.cuh) and decode_attention.cuh.
namespace moesim::bench {

template <int kKeyWidth, int kValueWidth>
struct PrefillShape {
  static constexpr int kThreads = 256;
  static constexpr int kRows = 128;
  static constexpr int kTileKeys = 64;
  static constexpr int kKeyBytes = kTileKeys * kKeyWidth * 2;
  static constexpr int kStageBytes = kKeyBytes + kTileKeys * kValueWidth * 2;
  static constexpr int kQueryBytes = kRows * kKeyWidth * 2;
  static constexpr int kSharedBytes = kQueryBytes + 2 * kStageBytes;
};

template <int kKeyWidth, int kValueWidth>
__global__ void __launch_bounds__(256) prefill_attention_kernel(PrefillArguments args) {
  using Shape = PrefillShape<kKeyWidth, kValueWidth>;
  constexpr int kKeyChunks = kKeyWidth / 8;
  constexpr int kValueChunks = kValueWidth / 8;
  constexpr int kTileKeys = Shape::kTileKeys;
  const float kNone = -__builtin_huge_valf();
  unsigned char* const queries = dynamic_shared();
  unsigned char* const stages = queries + Shape::kQueryBytes;

  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32;
  const int warp_row = thread / 32 * 16;
  const int query0 = static_cast<int>(gridDim.x - 1 - blockIdx.x) * Shape::kRows;  // the longest rows start first
  const int head = static_cast<int>(blockIdx.y);
  const int kv_head = head / (args.heads / args.kv_heads);
  const std::int64_t token0 = static_cast<std::int64_t>(blockIdx.z) * args.length;
  const int seen = query0 + Shape::kRows < args.length ? query0 + Shape::kRows : args.length;
  const int tiles = (seen + kTileKeys - 1) / kTileKeys;

  for (int i = thread; i < Shape::kRows * kKeyChunks; i += Shape::kThreads) {
    const int row = query0 + i / kKeyChunks;
    const bool present = row < args.length;
    copy_async(queries + swizzled_row<kKeyChunks>(i / kKeyChunks, i % kKeyChunks),
               args.q + (present ? ((token0 + row) * args.heads + head) * kKeyWidth + i % kKeyChunks * 8 : 0),
               present ? 16 : 0);
  }
  const auto load = [&](int tile) {
    unsigned char* const stage = stages + tile % 2 * Shape::kStageBytes;
    for (int i = thread; i < kTileKeys * kKeyChunks; i += Shape::kThreads) {
      const int key = tile * kTileKeys + i / kKeyChunks;
      const bool present = key < args.length;
      copy_async(stage + swizzled_row<kKeyChunks>(i / kKeyChunks, i % kKeyChunks),
                 args.k + (present ? ((token0 + key) * args.kv_heads + kv_head) * kKeyWidth + i % kKeyChunks * 8 : 0),
                 present ? 16 : 0);
    }
    for (int i = thread; i < kTileKeys * kValueChunks; i += Shape::kThreads) {
      const int key = tile * kTileKeys + i / kValueChunks;
      const bool present = key < args.length;
      copy_async(
          stage + Shape::kKeyBytes + swizzled_row<kValueChunks>(i / kValueChunks, i % kValueChunks),
          args.v + (present ? ((token0 + key) * args.kv_heads + kv_head) * kValueWidth + i % kValueChunks * 8 : 0),
          present ? 16 : 0);
    }
  };

  float out[kValueWidth / 8][4] = {};
  float highest[2] = {kNone, kNone};  // of rows lane/4 and lane/4 + 8
  float sum[2] = {};
  load(0);
  copy_async_commit();
  for (int tile = 0; tile < tiles; ++tile) {
    if (tile + 1 < tiles) {
      load(tile + 1);
    }
    copy_async_commit();
    copy_async_wait<1>();
    __syncthreads();
    const unsigned char* const keys = stages + tile % 2 * Shape::kStageBytes;
    const unsigned char* const values = keys + Shape::kKeyBytes;

    float score[kTileKeys / 8][4] = {};
#pragma unroll
    for (int step = 0; step < kKeyWidth / 16; ++step) {
      unsigned left[4];
      load_matrices(left, queries + swizzled_row<kKeyChunks>(warp_row + lane % 16, step * 2 + lane / 16));
#pragma unroll
      for (int j = 0; j < kTileKeys / 16; ++j) {
        unsigned right[4];
        load_matrices(right,
                      keys + swizzled_row<kKeyChunks>(j * 16 + lane / 16 * 8 + lane % 8, step * 2 + lane / 8 % 2));
        multiply_bf16(score[2 * j], left, right[0], right[1]);
        multiply_bf16(score[2 * j + 1], left, right[2], right[3]);
      }
    }
    float best[2] = {highest[0], highest[1]};
    const bool whole = (tile + 1) * kTileKeys - 1 <= query0 + warp_row && (tile + 1) * kTileKeys <= args.length;
#pragma unroll
    for (int j = 0; j < kTileKeys / 8; ++j) {
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        const int key = tile * kTileKeys + j * 8 + lane % 4 * 2 + q % 2;
        const int query = query0 + warp_row + lane / 4 + q / 2 * 8;
        score[j][q] = whole || (key <= query && key < args.length) ? score[j][q] * args.scale : kNone;
        best[q / 2] = best[q / 2] > score[j][q] ? best[q / 2] : score[j][q];
      }
    }
    float keep[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      for (int mask = 1; mask < 4; mask *= 2) {
        const float other = shuffle_xor(best[half], mask);
        best[half] = best[half] > other ? best[half] : other;
      }
      keep[half] = power_of_two(highest[half] - best[half]);  // best is finite: every query sees key 0
      highest[half] = best[half];
      sum[half] *= keep[half];
    }
#pragma unroll
    for (int j = 0; j < kValueWidth / 8; ++j) {
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        out[j][q] *= keep[q / 2];
      }
    }
#pragma unroll
    for (int step = 0; step < kTileKeys / 16; ++step) {
      unsigned left[4];  // the scores of 16 keys as they stand are the left operand's registers
#pragma unroll
      for (int block = 0; block < 2; ++block) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float low = power_of_two(score[2 * step + block][half * 2] - highest[half]);
          const float high = power_of_two(score[2 * step + block][half * 2 + 1] - highest[half]);
          sum[half] += low + high;
          left[block * 2 + half] = pack_bf16(low, high);
        }
      }
#pragma unroll
      for (int j = 0; j < kValueWidth / 16; ++j) {
        unsigned right[4];
        load_matrices_transposed(right, values + swizzled_row<kValueChunks>(step * 16 + lane % 16, j * 2 + lane / 16));
        multiply_bf16(out[2 * j], left, right[0], right[1]);
        multiply_bf16(out[2 * j + 1], left, right[2], right[3]);
      }
    }
    __syncthreads();  // the next but one tile goes where this one was
  }

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    for (int mask = 1; mask < 4; mask *= 2) {
      sum[half] += shuffle_xor(sum[half], mask);
    }
    const int query = query0 + warp_row + half * 8 + lane / 4;
    if (query >= args.length) {
      continue;
    }
    std::uint16_t* const row = args.out + ((token0 + query) * args.heads + head) * kValueWidth;
#pragma unroll
    for (int j = 0; j < kValueWidth / 8; ++j) {
      *reinterpret_cast<unsigned*>(row + j * 8 + lane % 4 * 2) =
          pack_bf16(out[j][half * 2] / sum[half], out[j][half * 2 + 1] / sum[half]);
    }
  }
}

}  // namespace moesim::bench
