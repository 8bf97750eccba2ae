#pragma once

#include <cstdint>

/// What the kernels are told. Pointers are to device memory; [a, b] is row-major with b contiguous; bf16 is held in
/// 16-bit words, e4m3 in bytes.
namespace moesim::bench {

enum class Scaling {
  kNone,  ///< products are multiplied by alpha alone
  kBlock  ///< fp8 with a scale for 128 values of k in each row of A and for each 128 × 128 of B (DeepSeek-V3)
};

enum class MatrixUnit {
  kWarp,      ///< mma.sync, on every GPU since Ampere
  kWarpgroup  ///< wgmma, on Hopper alone, whose full rate only it reaches
};

struct GroupedGemmArguments {
  const unsigned char* a = nullptr;  ///< [rows, k]
  const unsigned char* b = nullptr;  ///< [experts, n, k]
  std::uint16_t* c = nullptr;        ///< [rows, n]
  const int* offsets = nullptr;      ///< [experts + 1]: where each expert's rows begin
  const float* a_scale = nullptr;    ///< [rows, k/128]
  const float* b_scale = nullptr;    ///< [experts, n/128, k/128]
  float alpha = 1.0F;
  int multiprocessors = 0;  ///< that the host fills with blocks; 0: all
  int experts = 0;          ///< at most 512
  int n = 0;                ///< multiple of 8
  int k = 0;                ///< a row is a multiple of 16 bytes
};

/// Attention of new tokens over cached ones, one token a sequence. Row r of `group` query heads shares one key head.
struct DecodeArguments {
  const std::uint16_t* q = nullptr;  ///< [sequences, kv_heads, group, key width]
  const std::uint16_t* k = nullptr;  ///< [sequences, keys, kv_heads, key width]
  const std::uint16_t* v = nullptr;  ///< [sequences, keys, kv_heads, value width]; latent: the first of k's values
  float* partial = nullptr;          ///< [splits, sequences, kv_heads, group, value width]
  float* partial_stats = nullptr;    ///< [splits, sequences, kv_heads, group, 2]: maximum (base 2) and sum
  std::uint16_t* out = nullptr;      ///< [sequences, kv_heads, group, value width]
  int sequences = 0;
  int keys = 0;
  int kv_heads = 0;
  int group = 0;
  int splits = 1;
  float scale = 1.0F;  ///< of the scores, times log2(e)
};

/// Causal attention of whole prompts, all of one length.
struct PrefillArguments {
  const std::uint16_t* q = nullptr;  ///< [sequences, length, heads, key width]
  const std::uint16_t* k = nullptr;  ///< [sequences, length, kv_heads, key width]
  const std::uint16_t* v = nullptr;  ///< [sequences, length, kv_heads, value width]
  std::uint16_t* out = nullptr;      ///< [sequences, length, heads, value width]
  int sequences = 0;
  int length = 0;
  int heads = 0;
  int kv_heads = 0;
  float scale = 1.0F;  ///< of the scores, times log2(e)
};

enum class RouterScore {
  kSoftmax,  ///< of all experts; the chosen ones' shares are made to add up to 1 (Qwen, Mixtral)
  kSigmoid   ///< plus a bias for choosing, without it for weighing; groups limited (DeepSeek-V3)
};

struct TopKArguments {
  const float* logits = nullptr;  ///< [tokens, experts]
  const float* bias = nullptr;    ///< [experts], sigmoid only
  int* chosen = nullptr;          ///< [tokens, k], best first
  float* weights = nullptr;       ///< [tokens, k]
  int tokens = 0;
  int experts = 0;  ///< multiple of 32, at most 512
  int k = 0;        ///< at most 32
  int groups = 1;   ///< of equally many experts, whole lanes of a warp each
  int groups_kept = 1;
  float weight_scale = 1.0F;
};

/// Rows of a token's copies, in the order of the experts.
struct PermuteArguments {
  const std::uint16_t* in = nullptr;  ///< [tokens, hidden]
  const int* order = nullptr;         ///< [rows]: which copy (token·k + j) stands at each row
  std::uint16_t* out = nullptr;       ///< [rows, hidden]
  int* row_of_copy = nullptr;         ///< [rows]: the inverse of order
  int rows = 0;
  int hidden = 0;  ///< multiple of 8
  int k = 0;
};

struct UnpermuteArguments {
  const std::uint16_t* in = nullptr;  ///< [rows, hidden]
  const int* row_of_copy = nullptr;   ///< [tokens·k]
  const float* weights = nullptr;     ///< [tokens, k]
  std::uint16_t* out = nullptr;       ///< [tokens, hidden]
  int tokens = 0;
  int hidden = 0;  ///< multiple of 8
  int k = 0;
};

/// out = silu(gate)·up, with gate and up side by side in each row.
struct SwiGluArguments {
  const std::uint16_t* in = nullptr;  ///< [rows, 2·width]
  std::uint16_t* out = nullptr;       ///< [rows, width], or:
  std::uint8_t* quantised = nullptr;  ///< [rows, width]
  float* scales = nullptr;            ///< [rows, width/128], rounded up; null: fixed_scale for all
  float fixed_scale = 1.0F;
  int rows = 0;
  int width = 0;  ///< multiple of 4
};

struct RmsNormArguments {
  const std::uint16_t* in = nullptr;      ///< [rows, width]
  const std::uint16_t* weight = nullptr;  ///< [width]
  std::uint16_t* out = nullptr;
  int rows = 0;
  int width = 0;  ///< multiple of 8
  float epsilon = 1e-6F;
};

}  // namespace moesim::bench
