#pragma once

#include <array>
#include <string_view>
#include <utility>

#include "sim/config/describe.hpp"
#include "sim/core/quantity.hpp"

namespace moesim {

/// How an element of a tensor is stored. The micro-scaled types count their scales: mxfp4 has an 8-bit scale per 32
/// elements (OCP Microscaling Formats 1.0), nvfp4 one per 16, fp8-block a float per 128 (activations, DeepSeek-V3
/// report 3.3.2; per 128×128 for weights, where it is a 16,000th and left out). int4 is a type of weights alone, with a
/// 16-bit scale per 32 elements and no zero point: they are expanded to the type of the activations on the way to the
/// tensor cores.
enum class DataType { kFp32, kBf16, kFp16, kFp8, kFp8Block, kInt8, kMxFp4, kNvFp4, kInt4 };

template <>
struct EnumNames<DataType> {
  static constexpr auto names =
      std::to_array<std::pair<DataType, std::string_view>>({{DataType::kFp32, "fp32"},
                                                            {DataType::kBf16, "bf16"},
                                                            {DataType::kFp16, "fp16"},
                                                            {DataType::kFp8, "fp8"},
                                                            {DataType::kFp8Block, "fp8-block"},
                                                            {DataType::kInt8, "int8"},
                                                            {DataType::kMxFp4, "mxfp4"},
                                                            {DataType::kNvFp4, "nvfp4"},
                                                            {DataType::kInt4, "int4"}});
};

/// Bytes of one element of a weight or KV cache, scales included.
Bytes element_size(DataType type);
/// Bytes of one element of an activation that is sent or stored per token, scales included: fp8-block carries one
/// fp32 per 128 elements.
Bytes activation_element_size(DataType type);

}  // namespace moesim
