#pragma once

#include <optional>
#include <string_view>

#include "models/architecture/released_types.hpp"
#include "models/hardware/data_type.hpp"
#include "sim/config/describe.hpp"

namespace moesim {

/// In which types a model's tensors are stored, computed with and sent.
struct Precision {
  /// Dense and shared-expert matrices, and attention's; absent: as released, else bf16.
  std::optional<DataType> weights = std::nullopt;
  std::optional<DataType> experts = std::nullopt;  ///< routed experts; absent: as released, else like `weights`
  /// Attention and recurrences; absent: as released, else like `weights`.
  std::optional<DataType> attention = std::nullopt;
  DataType embedding = DataType::kBf16;  ///< embedding, LM head, router, norms: quantised checkpoints leave these alone
  DataType kv = DataType::kBf16;
  DataType state = DataType::kFp32;  ///< of linear attention
  DataType activations = DataType::kBf16;
  DataType dispatch = DataType::kBf16;  ///< tokens on their way to the experts
  DataType combine = DataType::kBf16;   ///< results on their way back

  [[nodiscard]] DataType matrix_weights(const ReleasedTypes& released) const {
    return weights.value_or(released.weights.value_or(DataType::kBf16));
  }
  [[nodiscard]] DataType expert_weights(const ReleasedTypes& released) const {
    return experts.value_or(released.experts.value_or(matrix_weights(released)));
  }
  [[nodiscard]] DataType attention_weights(const ReleasedTypes& released) const {
    return attention.value_or(released.attention.value_or(matrix_weights(released)));
  }

  static constexpr std::string_view kDoc = "Types of a model's tensors";
  template <class F>
  static void describe(F& f) {
    f.optional("weights", &Precision::weights,
               "Dense and shared-expert matrices, and attention's; absent: as the model was released, else bf16");
    f.optional("experts", &Precision::experts, "Routed experts; absent: as the model was released, else like weights");
    f.optional("attention", &Precision::attention,
               "Attention and recurrences; absent: as the model was released, else like weights");
    f.optional("embedding", &Precision::embedding, "Embedding, LM head, router and norms");
    f.optional("kv", &Precision::kv, "KV cache");
    f.optional("state", &Precision::state, "State of linear attention");
    f.optional("activations", &Precision::activations, "Activations between kernels");
    f.optional("dispatch", &Precision::dispatch, "Tokens on their way to the experts");
    f.optional("combine", &Precision::combine, "Experts' results on their way back");
  }
};

}  // namespace moesim
