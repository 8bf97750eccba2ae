#pragma once

#include <cstdint>

#include "validate/kernels/arguments.hpp"

/// C_e[rows_e, n] = A_e[rows_e, k]·B_e[n, k]ᵀ for every expert e, rows in the order of the experts. Persistent blocks
/// take tiles of kTileRows × 128 from a list that each block derives from the offsets, as serving systems do: the host
/// need not know the counts.
///
/// The includer provides the primitives (primitives.cuh, and warpgroup.cuh for MatrixUnit::kWarpgroup).
namespace moesim::bench {

/// Of one instantiation: kElement is the size of an input [bytes], kScaling what multiplies the products.
template <int kTileRows, int kElement, MatrixUnit kUnit = MatrixUnit::kWarp>
struct GroupedGemmShape {
  static_assert(kUnit == MatrixUnit::kWarp || kTileRows == 128, "two warpgroups of 64 rows");
  static constexpr int kThreads = 256;
  static constexpr int kTileColumns = 128;
  static constexpr int kDepth = 128;  // bytes of k that a stage holds: a block of scales in fp8, half of one in bf16
  static constexpr int kStageBytes = (kTileRows + kTileColumns) * kDepth;
  static constexpr int kStages = kTileRows == 16 ? 6 : 4;
  static constexpr int kMostExperts = 512;
  static constexpr int kListBytes = (kMostExperts + 4) * 4;
  static constexpr int kSharedBytes = kStages * kStageBytes + kListBytes + 64;
  static constexpr int kWarpsDown = kUnit == MatrixUnit::kWarpgroup ? 8 : kTileRows >= 64 ? 2 : 1;
  static constexpr int kWarpsAcross = 8 / kWarpsDown;
  static constexpr int kBlocksDown = kTileRows / kWarpsDown / 16;        // of 16 rows, per warp
  static constexpr int kBlocksAcross = kTileColumns / kWarpsAcross / 8;  // of 8 columns, per warp
  static constexpr int kBlocksPerUnit = kTileRows >= 128 ? 1 : 2;        // that one SM should hold
};

/// Where 16-byte chunk `chunk` of row `row` lies in a stage's rows of 128 bytes: chunks are permuted by row so that the
/// eight rows that a load of matrices takes lie in different banks.
__device__ inline int swizzled(int row, int chunk) { return row * 128 + ((chunk ^ (row & 7)) * 16); }

/// list[e] = tiles of the experts before e, for e = 0 … experts.
template <int kTileRows>
__device__ inline void list_tiles(int* list, int* sums, const int* offsets, int experts, int tiles_across) {
  const int t = static_cast<int>(threadIdx.x);
  const int lane = t % 32;
  const auto tiles_of = [&](int e) {
    return e < experts ? (offsets[e + 1] - offsets[e] + kTileRows - 1) / kTileRows * tiles_across : 0;
  };
  const int first = tiles_of(2 * t);
  const int second = tiles_of(2 * t + 1);
  int sum = first + second;
  for (int distance = 1; distance < 32; distance *= 2) {
    const int other = shuffle_up(sum, distance);
    sum += lane >= distance ? other : 0;
  }
  if (lane == 31) {
    sums[t / 32] = sum;
  }
  __syncthreads();
  int before = sum - first - second;
  for (int warp = 0; warp < t / 32; ++warp) {
    before += sums[warp];
  }
  if (2 * t <= experts) {
    list[2 * t] = before;
  }
  if (2 * t + 1 <= experts) {
    list[2 * t + 1] = before + first;
  }
  if (2 * t + 2 == experts) {
    list[experts] = before + first + second;
  }
  __syncthreads();
}

template <int kTileRows, int kElement, Scaling kScaling, MatrixUnit kUnit>
__global__ void __launch_bounds__(256, GroupedGemmShape<kTileRows, kElement, kUnit>::kBlocksPerUnit)
    grouped_gemm_kernel(GroupedGemmArguments args) {
  using Shape = GroupedGemmShape<kTileRows, kElement, kUnit>;
  constexpr int kDown = Shape::kBlocksDown;
  constexpr int kAcross = Shape::kBlocksAcross;
  static_assert(kAcross % 2 == 0, "loads of B take two blocks of columns at once");
  unsigned char* const stages = dynamic_shared();
  int* const list = reinterpret_cast<int*>(stages + Shape::kStages * Shape::kStageBytes);
  int* const sums = list + Shape::kMostExperts + 4;

  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32;
  const int warp = thread / 32;
  const int warp_row = warp / Shape::kWarpsAcross * kDown * 16;
  const int warp_column = warp % Shape::kWarpsAcross * kAcross * 8;
  const int tiles_across = (args.n + Shape::kTileColumns - 1) / Shape::kTileColumns;
  const std::int64_t row_bytes = static_cast<std::int64_t>(args.k) * kElement;
  const int depths = static_cast<int>((row_bytes + Shape::kDepth - 1) / Shape::kDepth);
  list_tiles<kTileRows>(list, sums, args.offsets, args.experts, tiles_across);
  const int tiles = list[args.experts];

  for (int tile = static_cast<int>(blockIdx.x); tile < tiles; tile += static_cast<int>(gridDim.x)) {
    int expert = 0;  // the last whose tiles begin at or before this one
    for (int step = 256; step > 0; step /= 2) {
      if (expert + step < args.experts && list[expert + step] <= tile) {
        expert += step;
      }
    }
    // Tiles of the same columns follow each other: they share the weights, which L2 then holds.
    const int rows = args.offsets[expert + 1] - args.offsets[expert];
    const int tiles_down = (rows + kTileRows - 1) / kTileRows;
    const int within = tile - list[expert];
    const int row0 = within % tiles_down * kTileRows;
    const int column0 = within / tiles_down * Shape::kTileColumns;
    const unsigned char* const a = args.a + (static_cast<std::int64_t>(args.offsets[expert]) + row0) * row_bytes;
    const unsigned char* const b = args.b + (static_cast<std::int64_t>(expert) * args.n + column0) * row_bytes;

    const auto load = [&](int depth) {
      unsigned char* const stage = stages + depth % Shape::kStages * Shape::kStageBytes;
      const int chunk = thread % 8;
      const std::int64_t at = static_cast<std::int64_t>(depth) * Shape::kDepth + chunk * 16;
      const bool inside = at < row_bytes;
      for (int row = thread / 8; row < kTileRows + Shape::kTileColumns; row += Shape::kThreads / 8) {
        const bool of_a = row < kTileRows;
        const int own = of_a ? row : row - kTileRows;
        const bool present = inside && (of_a ? row0 + own < rows : column0 + own < args.n);
        const unsigned char* const from = (of_a ? a : b) + (present ? own * row_bytes + at : 0);
        copy_async(stage + swizzled(row, chunk), present ? from : args.b, present ? 16 : 0);
      }
    };

    float sum[kDown][kAcross][4] = {};
    float part[kDown][kAcross][4] = {};
    for (int depth = 0; depth < Shape::kStages - 1; ++depth) {
      if (depth < depths) {
        load(depth);
      }
      copy_async_commit();
    }
    for (int depth = 0; depth < depths; ++depth) {
      float a_scale[kDown][2] = {};
      float b_scale = 1.0F;
      if constexpr (kScaling == Scaling::kBlock) {
        b_scale = args.b_scale[(static_cast<std::int64_t>(expert) * tiles_across + column0 / 128) * depths + depth];
        for (int i = 0; i < kDown; ++i) {
          for (int half = 0; half < 2; ++half) {
            const int row = row0 + warp_row + i * 16 + half * 8 + lane / 4;
            a_scale[i][half] =
                row < rows ? args.a_scale[(static_cast<std::int64_t>(args.offsets[expert]) + row) * depths + depth]
                           : 0.0F;
          }
        }
      }
      copy_async_wait<Shape::kStages - 2>();
      if constexpr (kUnit == MatrixUnit::kWarpgroup) {
        fence_shared_for_matrix_units();
      }
      __syncthreads();
      if (depth + Shape::kStages - 1 < depths) {
        load(depth + Shape::kStages - 1);
      }
      copy_async_commit();
      const unsigned char* const stage = stages + depth % Shape::kStages * Shape::kStageBytes;
      if constexpr (kUnit == MatrixUnit::kWarpgroup) {
        float(&into)[kAcross][4] = kScaling == Scaling::kBlock ? part[0] : sum[0];
        warpgroup_multiply<kElement>(into, stage + warp / 4 * 64 * Shape::kDepth, stage + kTileRows * Shape::kDepth);
      } else {
#pragma unroll
        for (int step = 0; step < Shape::kDepth / 32; ++step) {
          unsigned left[kDown][4];
          unsigned right[kAcross / 2][4];
#pragma unroll
          for (int i = 0; i < kDown; ++i) {
            load_matrices(left[i], stage + swizzled(warp_row + i * 16 + lane % 16, step * 2 + lane / 16));
          }
#pragma unroll
          for (int j = 0; j < kAcross / 2; ++j) {
            load_matrices(right[j], stage + swizzled(kTileRows + warp_column + j * 16 + lane / 16 * 8 + lane % 8,
                                                     step * 2 + lane / 8 % 2));
          }
#pragma unroll
          for (int i = 0; i < kDown; ++i) {
#pragma unroll
            for (int j = 0; j < kAcross; ++j) {
              float(&into)[4] = kScaling == Scaling::kBlock ? part[i][j] : sum[i][j];
              if constexpr (kElement == 1) {
                multiply_e4m3(into, left[i], right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]);
              } else {
                multiply_bf16(into, left[i], right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]);
              }
            }
          }
        }
      }
      if constexpr (kScaling == Scaling::kBlock) {
#pragma unroll
        for (int i = 0; i < kDown; ++i) {
#pragma unroll
          for (int j = 0; j < kAcross; ++j) {
#pragma unroll
            for (int q = 0; q < 4; ++q) {
              sum[i][j][q] += part[i][j][q] * (a_scale[i][q / 2] * b_scale);
              part[i][j][q] = 0.0F;
            }
          }
        }
      }
    }
    copy_async_wait<0>();
    __syncthreads();  // the next tile's loads overwrite what others may still read

#pragma unroll
    for (int i = 0; i < kDown; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = row0 + warp_row + i * 16 + half * 8 + lane / 4;
        if (row >= rows) {
          continue;
        }
        std::uint16_t* const out = args.c + (static_cast<std::int64_t>(args.offsets[expert]) + row) * args.n;
#pragma unroll
        for (int j = 0; j < kAcross; ++j) {
          const int column = column0 + warp_column + j * 8 + lane % 4 * 2;
          if (column < args.n) {
            *reinterpret_cast<unsigned*>(out + column) =
                pack_bf16(sum[i][j][half * 2] * args.alpha, sum[i][j][half * 2 + 1] * args.alpha);
          }
        }
      }
    }
  }
}

}  // namespace moesim::bench
