#pragma once

#include <cstdint>

#include "sim/core/quantity.hpp"
#include "sim/program/operators.hpp"

/// What the operators of a layer are put together from.
namespace moesim {

inline Bytes elements(std::int64_t count, DataType type) {
  return static_cast<double>(count) * activation_element_size(type);
}

/// The same as payload of an exchange.
inline double bytes_of(std::int64_t count, DataType type) { return elements(count, type).base(); }

inline Gemm gemm(const OperatorContext& context, std::int64_t m, std::int64_t n, std::int64_t k,
                 std::int64_t batch = 1) {
  return {
      .m = m, .n = n, .k = k, .batch = batch, .weight = context.weights, .activation = context.precision.activations};
}

/// The same with weights that quantised checkpoints leave alone.
inline Gemm plain_gemm(const OperatorContext& context, std::int64_t m, std::int64_t n, std::int64_t k) {
  Gemm plain = gemm(context, m, n, k);
  plain.weight = context.precision.embedding;
  return plain;
}

/// Type in which a GEMM with weights of type `weight` takes its other operand: 8-bit weights want 8-bit inputs,
/// 4-bit weights are multiplied with the activations as they are.
inline DataType input_type(const OperatorContext& context, DataType weight) {
  const bool eight_bit = weight == DataType::kFp8 || weight == DataType::kFp8Block || weight == DataType::kInt8;
  return eight_bit ? weight : context.precision.activations;
}

/// The share of one of `parts` ranks, rounded up: the widest rank sets the pace.
inline std::int64_t split(int count, int parts) { return (count + parts - 1) / parts; }

}  // namespace moesim
