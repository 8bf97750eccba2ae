#include "models/hardware/data_type.hpp"

#include "sim/core/error.hpp"

namespace moesim {

namespace {

/// Bytes per element of a block format: the element's bits and one scale per block.
constexpr double block_format(double element_bits, double scale_bits, double block) {
  return (element_bits + scale_bits / block) / 8.0;
}

}  // namespace

Bytes element_size(DataType type) {
  switch (type) {
    case DataType::kFp32:
      return bytes(4.0);
    case DataType::kBf16:
    case DataType::kFp16:
      return bytes(2.0);
    case DataType::kFp8:
    case DataType::kFp8Block:  // one fp32 scale per 128×128 weights: 2.4e-4 B an element, left out
    case DataType::kInt8:
      return bytes(1.0);
    case DataType::kMxFp4:  // e2m1 with an e8m0 scale per 32; OCP Microscaling Formats 1.0, section 5.2
      return bytes(block_format(4.0, 8.0, 32.0));
    case DataType::kNvFp4:  // e2m1 with an e4m3 scale per 16
      return bytes(block_format(4.0, 8.0, 16.0));
    case DataType::kInt4:  // symmetric, a bf16 scale per 32: "group_size": 32 of Kimi-K2-Thinking's config.json
      return bytes(block_format(4.0, 16.0, 32.0));
  }
  ensure(false, "data type out of range");
  return {};
}

Bytes activation_element_size(DataType type) {
  if (type == DataType::kFp8Block) {  // one fp32 scale per token and 128 channels; DeepSeek-V3 report, 3.3.2
    return bytes(block_format(8.0, 32.0, 128.0));
  }
  return element_size(type);
}

}  // namespace moesim
