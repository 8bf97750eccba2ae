#include "validate/kernels/primitives.cuh"
// The primitives come first.
#include "validate/kernels/decode_attention.cuh"
#include "validate/kernels/launch.hpp"
#include "validate/kernels/launch_check.cuh"
#include "validate/kernels/prefill_attention.cuh"

namespace moesim::bench {
namespace {

template <int kWarpsDown, int kWarpsAcross, int kTileKeys, int kKeyWidth, int kValueWidth>
void decode(const DecodeArguments& args, cudaStream_t stream) {
  using Shape = DecodeShape<kWarpsDown, kWarpsAcross, kTileKeys, kKeyWidth, kValueWidth>;
  const auto kernel = decode_attention_kernel<kWarpsDown, kWarpsAcross, kTileKeys, kKeyWidth, kValueWidth>;
  allow_shared(kernel, Shape::kSharedBytes, "decode attention");
  const int head_tiles = (args.group + Shape::kRows - 1) / Shape::kRows;
  const dim3 grid(static_cast<unsigned>(args.splits), static_cast<unsigned>(args.kv_heads * head_tiles),
                  static_cast<unsigned>(args.sequences));
  kernel<<<grid, Shape::kThreads, Shape::kSharedBytes, stream>>>(args);
  check_launch("decode attention");
  if (args.splits > 1) {
    const auto rows = static_cast<unsigned>(args.sequences * args.kv_heads * args.group);
    combine_splits_kernel<<<rows, 128, 0, stream>>>(args, kValueWidth);
    check_launch("merging of decode attention");
  }
}

template <int kKeyWidth, int kValueWidth>
void prefill(const PrefillArguments& args, cudaStream_t stream) {
  using Shape = PrefillShape<kKeyWidth, kValueWidth>;
  const auto kernel = prefill_attention_kernel<kKeyWidth, kValueWidth>;
  allow_shared(kernel, Shape::kSharedBytes, "prefill attention");
  const dim3 grid(static_cast<unsigned>((args.length + Shape::kRows - 1) / Shape::kRows),
                  static_cast<unsigned>(args.heads), static_cast<unsigned>(args.sequences));
  kernel<<<grid, Shape::kThreads, Shape::kSharedBytes, stream>>>(args);
  check_launch("prefill attention");
}

}  // namespace

int decode_splits(int sequences, int kv_heads, int group, int keys, int multiprocessors) {
  constexpr int kLeastKeys = 256;
  constexpr int kBlocksEach = 3;  // for an SM
  const int head_tiles = (group + 63) / 64;
  const int blocks = sequences * kv_heads * head_tiles;
  const int wanted = (multiprocessors * kBlocksEach + blocks - 1) / blocks;
  const int most = (keys + kLeastKeys - 1) / kLeastKeys;
  const int splits = wanted < most ? wanted : most;
  return splits > 64 ? 64 : splits > 1 ? splits : 1;
}

void launch_decode_attention(const DecodeArguments& args, int key_width, cudaStream_t stream) {
  constexpr int kMostGrid = 65535;  // blocks in y and z
  if (args.sequences > kMostGrid || args.group < 1 || args.kv_heads * ((args.group + 15) / 16) > kMostGrid) {
    throw Unsupported("decode attention: more sequences or heads than a grid holds");
  }
  if (key_width == 64) {
    decode<1, 4, 64, 64, 64>(args, stream);
  } else if (key_width == 128) {
    decode<1, 4, 64, 128, 128>(args, stream);
  } else if (key_width == 576 && args.group <= 16) {
    decode<1, 2, 32, 576, 512>(args, stream);
  } else if (key_width == 576) {
    decode<4, 2, 32, 576, 512>(args, stream);
  } else {
    throw Unsupported("decode attention: expected heads of 64, 128 or 576, found " + std::to_string(key_width));
  }
}

void launch_prefill_attention(const PrefillArguments& args, int key_width, cudaStream_t stream) {
  if (args.kv_heads < 1 || args.heads % args.kv_heads != 0 || args.heads > 65535 || args.sequences > 65535) {
    throw Unsupported("prefill attention: expected key heads that query heads share evenly");
  }
  if (key_width == 128) {
    prefill<128, 128>(args, stream);
  } else if (key_width == 192) {
    prefill<192, 128>(args, stream);
  } else {
    throw Unsupported("prefill attention: expected heads of 128 or 192, found " + std::to_string(key_width));
  }
}

}  // namespace moesim::bench
