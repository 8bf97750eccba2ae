#pragma once

#include <cstdint>

#include "validate/kernels/arguments.hpp"

/// Attention of one new token a sequence, the cached keys split among blocks (flash decoding, Dao et al. 2023): each
/// block walks over its share of one key head's tokens for all query heads of the group, and combine_splits_kernel
/// merges the shares. Scores and outputs go through the matrix units: for eight query heads a key head, ordinary cores
/// would not keep up with the memory.
///
///   m' = max(m, max_j s_j),  o' = o·2^(m − m') + Σ_j 2^(s_j − m')·v_j,  l' likewise; out = o/l  (s scaled by log2 e)
///
/// Latent attention (MLA, DeepSeek-V2, arXiv 2405.04434, section 2.1.2, absorbed) is the same with one key head of
/// width 576 whose first 512 values are the values.
///
/// The includer provides the primitives (primitives.cuh).
namespace moesim::bench {

template <int kWarpsDown, int kWarpsAcross, int kTileKeys, int kKeyWidth, int kValueWidth>
struct DecodeShape {
  static constexpr bool kLatent = kKeyWidth != kValueWidth;
  static constexpr int kThreads = 32 * kWarpsDown * kWarpsAcross;
  static constexpr int kRows = 16 * kWarpsDown;  // query heads of a block
  static constexpr int kKeyBytes = kTileKeys * kKeyWidth * 2;
  static constexpr int kValueBytes = kLatent ? 0 : kTileKeys * kValueWidth * 2;
  static constexpr int kStageBytes = kKeyBytes + kValueBytes;
  static constexpr int kQueryBytes = kRows * kKeyWidth * 2;
  static constexpr int kScoreBytes = kRows * kTileKeys * 2;
  static constexpr int kSharedBytes = kQueryBytes + 2 * kStageBytes + kScoreBytes + kWarpsAcross * kRows * 4;
};

/// Where 16-byte chunk `chunk` of row `row` lies in rows of kChunks chunks; see swizzled() in grouped_gemm.cuh.
template <int kChunks>
__device__ inline int swizzled_row(int row, int chunk) {
  static_assert(kChunks == 4 || kChunks % 8 == 0, "rows of 64 bytes, or of a multiple of 128");
  const int turn = kChunks == 4 ? row / 2 % 4 : row % 8;
  return (row * kChunks + (chunk ^ turn)) * 16;
}

template <int kWarpsDown, int kWarpsAcross, int kTileKeys, int kKeyWidth, int kValueWidth>
__global__ void __launch_bounds__(32 * kWarpsDown * kWarpsAcross) decode_attention_kernel(DecodeArguments args) {
  using Shape = DecodeShape<kWarpsDown, kWarpsAcross, kTileKeys, kKeyWidth, kValueWidth>;
  constexpr int kKeyChunks = kKeyWidth / 8;
  constexpr int kValueChunks = Shape::kLatent ? kKeyChunks : kValueWidth / 8;
  constexpr int kScoreChunks = kTileKeys / 8;
  constexpr int kKeysEach = kTileKeys / kWarpsAcross;
  constexpr int kColumnsEach = kValueWidth / kWarpsAcross;
  static_assert(kKeysEach % 16 == 0 && kColumnsEach % 16 == 0, "a warp takes whole blocks of 16");
  const float kNone = -__builtin_huge_valf();
  unsigned char* const queries = dynamic_shared();
  unsigned char* const stages = queries + Shape::kQueryBytes;
  unsigned char* const scores = stages + 2 * Shape::kStageBytes;
  float* const across = reinterpret_cast<float*>(scores + Shape::kScoreBytes);  // [kWarpsAcross, kRows]

  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32;
  const int down = thread / 32 / kWarpsAcross;
  const int part = thread / 32 % kWarpsAcross;
  const int split = static_cast<int>(blockIdx.x);
  const int head_tiles = (args.group + Shape::kRows - 1) / Shape::kRows;
  const int kv_head = static_cast<int>(blockIdx.y) / head_tiles;
  const int head0 = static_cast<int>(blockIdx.y) % head_tiles * Shape::kRows;
  const int sequence = static_cast<int>(blockIdx.z);
  const int heads = args.group - head0 < Shape::kRows ? args.group - head0 : Shape::kRows;
  const std::int64_t first_row =
      (static_cast<std::int64_t>(sequence) * args.kv_heads + kv_head) * args.group + head0;  // of q and out

  const int share = ((args.keys + args.splits - 1) / args.splits + kTileKeys - 1) / kTileKeys * kTileKeys;
  const int begin = split * share;
  const int end = begin + share < args.keys ? begin + share : args.keys;
  const int tiles = end > begin ? (end - begin + kTileKeys - 1) / kTileKeys : 0;

  for (int i = thread; i < Shape::kRows * kKeyChunks; i += Shape::kThreads) {
    const int row = i / kKeyChunks;
    const bool present = row < heads;
    copy_async(queries + swizzled_row<kKeyChunks>(row, i % kKeyChunks),
               args.q + (present ? (first_row + row) * kKeyWidth + i % kKeyChunks * 8 : 0), present ? 16 : 0);
  }
  const auto load = [&](int tile) {
    unsigned char* const stage = stages + tile % 2 * Shape::kStageBytes;
    for (int i = thread; i < kTileKeys * kKeyChunks; i += Shape::kThreads) {
      const int row = i / kKeyChunks;
      const int token = begin + tile * kTileKeys + row;
      const bool present = token < end;
      const std::int64_t at = (static_cast<std::int64_t>(sequence) * args.keys + token) * args.kv_heads + kv_head;
      copy_async(stage + swizzled_row<kKeyChunks>(row, i % kKeyChunks),
                 args.k + (present ? at * kKeyWidth + i % kKeyChunks * 8 : 0), present ? 16 : 0);
      if constexpr (!Shape::kLatent) {
        copy_async(stage + Shape::kKeyBytes + swizzled_row<kKeyChunks>(row, i % kKeyChunks),
                   args.v + (present ? at * kValueWidth + i % kKeyChunks * 8 : 0), present ? 16 : 0);
      }
    }
  };

  float out[kColumnsEach / 8][4] = {};
  float highest[2] = {kNone, kNone};  // of rows lane/4 and lane/4 + 8
  float sum[2] = {};                  // over this thread's keys
  if (tiles > 0) {
    load(0);
  }
  copy_async_commit();
  for (int tile = 0; tile < tiles; ++tile) {
    if (tile + 1 < tiles) {
      load(tile + 1);
    }
    copy_async_commit();
    copy_async_wait<1>();
    __syncthreads();
    const unsigned char* const keys = stages + tile % 2 * Shape::kStageBytes;
    const unsigned char* const values = keys + Shape::kKeyBytes * (Shape::kLatent ? 0 : 1);

    float score[kKeysEach / 8][4] = {};
#pragma unroll 4
    for (int step = 0; step < kKeyWidth / 16; ++step) {
      unsigned left[4];
      load_matrices(left, queries + swizzled_row<kKeyChunks>(down * 16 + lane % 16, step * 2 + lane / 16));
#pragma unroll
      for (int j = 0; j < kKeysEach / 16; ++j) {
        unsigned right[4];
        load_matrices(right, keys + swizzled_row<kKeyChunks>(part * kKeysEach + j * 16 + lane / 16 * 8 + lane % 8,
                                                             step * 2 + lane / 8 % 2));
        multiply_bf16(score[2 * j], left, right[0], right[1]);
        multiply_bf16(score[2 * j + 1], left, right[2], right[3]);
      }
    }
    float best[2] = {kNone, kNone};
#pragma unroll
    for (int j = 0; j < kKeysEach / 8; ++j) {
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        const int token = begin + tile * kTileKeys + part * kKeysEach + j * 8 + lane % 4 * 2 + q % 2;
        score[j][q] = token < end ? score[j][q] * args.scale : kNone;
        best[q / 2] = best[q / 2] > score[j][q] ? best[q / 2] : score[j][q];
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      for (int mask = 1; mask < 4; mask *= 2) {
        const float other = shuffle_xor(best[half], mask);
        best[half] = best[half] > other ? best[half] : other;
      }
      if (lane % 4 == 0) {
        across[part * Shape::kRows + down * 16 + half * 8 + lane / 4] = best[half];
      }
    }
    __syncthreads();
    float keep[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float now = highest[half];
      for (int other = 0; other < kWarpsAcross; ++other) {
        const float theirs = across[other * Shape::kRows + down * 16 + half * 8 + lane / 4];
        now = now > theirs ? now : theirs;
      }
      keep[half] = power_of_two(highest[half] - now);
      highest[half] = now;
      sum[half] *= keep[half];
    }
#pragma unroll
    for (int j = 0; j < kKeysEach / 8; ++j) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float low = power_of_two(score[j][half * 2] - highest[half]);
        const float high = power_of_two(score[j][half * 2 + 1] - highest[half]);
        sum[half] += low + high;
        const int row = down * 16 + half * 8 + lane / 4;
        const int column = part * kKeysEach + j * 8 + lane % 4 * 2;
        *reinterpret_cast<unsigned*>(scores + swizzled_row<kScoreChunks>(row, column / 8) + column % 8 * 2) =
            pack_bf16(low, high);
      }
    }
    __syncthreads();
#pragma unroll
    for (int j = 0; j < kColumnsEach / 8; ++j) {
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        out[j][q] *= keep[q / 2];
      }
    }
#pragma unroll
    for (int step = 0; step < kTileKeys / 16; ++step) {
      unsigned left[4];
      load_matrices(left, scores + swizzled_row<kScoreChunks>(down * 16 + lane % 16, step * 2 + lane / 16));
#pragma unroll
      for (int j = 0; j < kColumnsEach / 16; ++j) {
        unsigned right[4];
        load_matrices_transposed(
            right,
            values + swizzled_row<kValueChunks>(step * 16 + lane % 16, part * kColumnsEach / 8 + j * 2 + lane / 16));
        multiply_bf16(out[2 * j], left, right[0], right[1]);
        multiply_bf16(out[2 * j + 1], left, right[2], right[3]);
      }
    }
    __syncthreads();  // the next but one tile goes where this one was
  }

  // Sums of a row lie in four lanes of each of the warps beside each other.
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    for (int mask = 1; mask < 4; mask *= 2) {
      sum[half] += shuffle_xor(sum[half], mask);
    }
    if (lane % 4 == 0) {
      across[part * Shape::kRows + down * 16 + half * 8 + lane / 4] = sum[half];
    }
  }
  __syncthreads();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = down * 16 + half * 8 + lane / 4;
    float total = 0.0F;
    for (int other = 0; other < kWarpsAcross; ++other) {
      total += across[other * Shape::kRows + row];
    }
    if (row >= heads) {
      continue;
    }
    const std::int64_t rows = static_cast<std::int64_t>(args.sequences) * args.kv_heads * args.group;
    const std::int64_t at = split * rows + first_row + row;
#pragma unroll
    for (int j = 0; j < kColumnsEach / 8; ++j) {
      const int column = part * kColumnsEach + j * 8 + lane % 4 * 2;
      if (args.splits == 1) {
        *reinterpret_cast<unsigned*>(args.out + (first_row + row) * kValueWidth + column) =
            pack_bf16(out[j][half * 2] / total, out[j][half * 2 + 1] / total);
      } else {
        args.partial[at * kValueWidth + column] = out[j][half * 2];
        args.partial[at * kValueWidth + column + 1] = out[j][half * 2 + 1];
      }
    }
    if (args.splits > 1 && part == 0 && lane % 4 == 0) {
      args.partial_stats[at * 2] = highest[half];
      args.partial_stats[at * 2 + 1] = total;
    }
  }
}

/// One block for each row (sequence and query head) of `width` values.
__global__ void combine_splits_kernel(DecodeArguments args, int width) {
  const std::int64_t rows = static_cast<std::int64_t>(args.sequences) * args.kv_heads * args.group;
  const std::int64_t row = blockIdx.x;
  float highest = -__builtin_huge_valf();
  for (int split = 0; split < args.splits; ++split) {
    const float* const stats = args.partial_stats + (split * rows + row) * 2;
    highest = stats[1] > 0.0F && stats[0] > highest ? stats[0] : highest;
  }
  for (int column = static_cast<int>(threadIdx.x); column < width; column += static_cast<int>(blockDim.x)) {
    float value = 0.0F;
    float sum = 0.0F;
    for (int split = 0; split < args.splits; ++split) {
      const float* const stats = args.partial_stats + (split * rows + row) * 2;
      if (stats[1] > 0.0F) {  // a share without keys has none
        const float weight = power_of_two(stats[0] - highest);
        value += weight * args.partial[(split * rows + row) * width + column];
        sum += weight * stats[1];
      }
    }
    args.out[row * width + column] = to_bf16(value / sum);
  }
}

}  // namespace moesim::bench
