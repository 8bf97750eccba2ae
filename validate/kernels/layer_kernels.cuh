#pragma once

#include <cstdint>

#include "validate/kernels/arguments.hpp"
#include "validate/kernels/values.hpp"

/// The kernels of a layer around its matrix products: choosing experts, bringing tokens into the experts' order and
/// back, the activation, the norm. All are bound by memory, or by their launch.
///
/// The includer provides the primitives (primitives.cuh).
namespace moesim::bench {

/// Eight bf16 as one load or store of 16 bytes.
struct alignas(16) EightBf16 {
  std::uint16_t at[8];
};
struct alignas(8) FourBf16 {
  std::uint16_t at[4];
};

struct Ranked {
  float value;
  int index;
};
/// Whether a stands before b: the greater value, the lower index among equals.
__device__ inline bool before(const Ranked& a, const Ranked& b) {
  return a.value > b.value || (a.value == b.value && a.index < b.index);
}
__device__ inline Ranked best_of_warp(Ranked mine) {
  for (int mask = 16; mask > 0; mask /= 2) {
    const Ranked other{shuffle_xor(mine.value, mask), shuffle_xor(mine.index, mask)};
    mine = before(other, mine) ? other : mine;
  }
  return mine;
}

/// One warp a token; lane l holds experts l·kEach … l·kEach + kEach − 1. Blocks of whole warps.
template <int kEach, RouterScore kScore>
__global__ void __launch_bounds__(128) top_k_kernel(TopKArguments args) {
  const float kNone = -__builtin_huge_valf();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int token = static_cast<int>(blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32);
  if (token >= args.tokens) {
    return;  // the whole warp
  }
  float share[kEach];   // what a chosen expert's weight is in proportion to
  float choice[kEach];  // what experts are chosen by
  float most = kNone;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int expert = lane * kEach + i;
    const bool is = expert < args.experts;
    share[i] = is ? args.logits[static_cast<std::int64_t>(token) * args.experts + expert] : kNone;
    most = share[i] > most ? share[i] : most;
  }
  for (int mask = 16; mask > 0; mask /= 2) {
    const float other = shuffle_xor(most, mask);
    most = other > most ? other : most;
  }
  constexpr float kLog2E = 1.44269504F;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int expert = lane * kEach + i;
    if constexpr (kScore == RouterScore::kSoftmax) {
      choice[i] = share[i];
      share[i] = power_of_two((share[i] - most) * kLog2E);
    } else {
      share[i] = 1.0F / (1.0F + power_of_two(-share[i] * kLog2E));
      choice[i] = expert < args.experts ? share[i] + args.bias[expert] : kNone;
    }
  }
  if (args.groups > 1) {  // a group counts by the sum of its two best
    float first = kNone;
    float second = kNone;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      second = choice[i] > first ? first : choice[i] > second ? choice[i] : second;
      first = choice[i] > first ? choice[i] : first;
    }
    const int lanes = 32 / args.groups;
    for (int mask = 1; mask < lanes; mask *= 2) {
      const float their_first = shuffle_xor(first, mask);
      const float their_second = shuffle_xor(second, mask);
      const float lower = first > their_first ? their_first : first;
      second = second > their_second ? second : their_second;
      second = second > lower ? second : lower;
      first = first > their_first ? first : their_first;
    }
    const Ranked mine{first + second, lane / lanes};
    int better = 0;
    for (int group = 0; group < args.groups; ++group) {
      const Ranked other{shuffle(mine.value, group * lanes), group};
      better += before(other, mine) ? 1 : 0;
    }
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      choice[i] = better < args.groups_kept ? choice[i] : kNone;
    }
  }
  int my_expert = 0;
  float my_weight = 0.0F;
  float sum = 0.0F;
  for (int round = 0; round < args.k; ++round) {
    Ranked mine{kNone, 1 << 20};
    float weight = 0.0F;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const Ranked here{choice[i], lane * kEach + i};
      const bool is = before(here, mine);
      weight = is ? share[i] : weight;
      mine = is ? here : mine;
    }
    const Ranked best = best_of_warp(mine);
    weight = shuffle(weight, best.index / kEach % 32);
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      choice[i] = lane * kEach + i == best.index ? kNone : choice[i];
    }
    my_expert = lane == round ? best.index : my_expert;
    my_weight = lane == round ? weight : my_weight;
    sum += weight;
  }
  if (lane < args.k) {
    const std::int64_t at = static_cast<std::int64_t>(token) * args.k + lane;
    args.chosen[at] = my_expert;
    args.weights[at] = my_weight / sum * args.weight_scale;
  }
}

/// One warp a row at a time.
__global__ void __launch_bounds__(256) permute_kernel(PermuteArguments args) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warps = static_cast<int>(gridDim.x * (blockDim.x / 32));
  for (int row = static_cast<int>(blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32); row < args.rows; row += warps) {
    const int copy = args.order[row];
    const auto* const from =
        reinterpret_cast<const EightBf16*>(args.in + static_cast<std::int64_t>(copy / args.k) * args.hidden);
    auto* const to = reinterpret_cast<EightBf16*>(args.out + static_cast<std::int64_t>(row) * args.hidden);
#pragma unroll 4
    for (int i = lane; i < args.hidden / 8; i += 32) {
      to[i] = from[i];
    }
    if (lane == 0) {
      args.row_of_copy[copy] = row;
    }
  }
}

/// out[t] = Σ_j weights[t, j]·in[row_of_copy[t·k + j]]; one block a token.
__global__ void __launch_bounds__(256) unpermute_kernel(UnpermuteArguments args) {
  const auto token = static_cast<std::int64_t>(blockIdx.x);
  for (int i = static_cast<int>(threadIdx.x); i < args.hidden / 8; i += static_cast<int>(blockDim.x)) {
    float sum[8] = {};
#pragma unroll 4
    for (int j = 0; j < args.k; ++j) {
      const std::int64_t row = args.row_of_copy[token * args.k + j];
      const float weight = args.weights[token * args.k + j];
      const EightBf16 values = reinterpret_cast<const EightBf16*>(args.in + row * args.hidden)[i];
#pragma unroll
      for (int q = 0; q < 8; ++q) {
        sum[q] += weight * bf16_to_float(values.at[q]);
      }
    }
    EightBf16 result;
#pragma unroll
    for (int q = 0; q < 8; ++q) {
      result.at[q] = to_bf16(sum[q]);
    }
    reinterpret_cast<EightBf16*>(args.out + token * args.hidden)[i] = result;
  }
}

/// One warp for each 128 values of a row, four a lane, so that a block of scales is a warp's own.
__global__ void __launch_bounds__(256) swiglu_kernel(SwiGluArguments args) {
  constexpr float kLog2E = 1.44269504F;
  constexpr float kLargest = 448.0F;  // of e4m3
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int blocks = (args.width + 127) / 128;
  const std::int64_t warps = static_cast<std::int64_t>(gridDim.x) * (blockDim.x / 32);
  const std::int64_t items = static_cast<std::int64_t>(args.rows) * blocks;
  for (std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32; item < items;
       item += warps) {
    const std::int64_t row = item / blocks;
    const int column = static_cast<int>(item % blocks) * 128 + lane * 4;
    float value[4] = {};
    if (column < args.width) {
      const std::uint16_t* const from = args.in + row * 2 * args.width + column;
      const FourBf16 gates = *reinterpret_cast<const FourBf16*>(from);
      const FourBf16 ups = *reinterpret_cast<const FourBf16*>(from + args.width);
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        const float gate = bf16_to_float(gates.at[q]);
        value[q] = gate / (1.0F + power_of_two(-gate * kLog2E)) * bf16_to_float(ups.at[q]);
      }
    }
    if (args.quantised == nullptr) {
      if (column < args.width) {
        FourBf16 result;
#pragma unroll
        for (int q = 0; q < 4; ++q) {
          result.at[q] = to_bf16(value[q]);
        }
        *reinterpret_cast<FourBf16*>(args.out + row * args.width + column) = result;
      }
      continue;
    }
    float most = 0.0F;
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      const float magnitude = value[q] < 0.0F ? -value[q] : value[q];
      most = magnitude > most ? magnitude : most;
    }
    for (int mask = 16; mask > 0; mask /= 2) {
      const float other = shuffle_xor(most, mask);
      most = other > most ? other : most;
    }
    const float scale = args.scales == nullptr ? args.fixed_scale : most > 0.0F ? most / kLargest : 1.0F;
    if (column < args.width) {
      unsigned packed = 0;
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        packed |= static_cast<unsigned>(to_e4m3(value[q] / scale)) << (8 * q);
      }
      *reinterpret_cast<unsigned*>(args.quantised + row * args.width + column) = packed;
    }
    if (lane == 0 && args.scales != nullptr) {
      args.scales[item] = scale;
    }
  }
}

/// out = in/√(mean(in²) + ε)·weight; one block of 256 threads a row.
__global__ void __launch_bounds__(256) rms_norm_kernel(RmsNormArguments args) {
  auto* const sums = reinterpret_cast<float*>(dynamic_shared());
  const int thread = static_cast<int>(threadIdx.x);
  const std::int64_t row = blockIdx.x;
  const auto* const from = reinterpret_cast<const EightBf16*>(args.in + row * args.width);
  const auto* const weights = reinterpret_cast<const EightBf16*>(args.weight);
  auto* const to = reinterpret_cast<EightBf16*>(args.out + row * args.width);
  float sum = 0.0F;
  for (int i = thread; i < args.width / 8; i += static_cast<int>(blockDim.x)) {
    const EightBf16 values = from[i];
#pragma unroll
    for (int q = 0; q < 8; ++q) {
      const float value = bf16_to_float(values.at[q]);
      sum += value * value;
    }
  }
  for (int mask = 16; mask > 0; mask /= 2) {
    sum += shuffle_xor(sum, mask);
  }
  if (thread % 32 == 0) {
    sums[thread / 32] = sum;
  }
  __syncthreads();
  float total = 0.0F;
  for (int warp = 0; warp < static_cast<int>(blockDim.x) / 32; ++warp) {
    total += sums[warp];
  }
  const float factor = 1.0F / sqrtf(total / static_cast<float>(args.width) + args.epsilon);
  for (int i = thread; i < args.width / 8; i += static_cast<int>(blockDim.x)) {
    const EightBf16 values = from[i];
    const EightBf16 weight = weights[i];
    EightBf16 result;
#pragma unroll
    for (int q = 0; q < 8; ++q) {
      result.at[q] = to_bf16(bf16_to_float(values.at[q]) * factor * bf16_to_float(weight.at[q]));
    }
    to[i] = result;
  }
}

}  // namespace moesim::bench
