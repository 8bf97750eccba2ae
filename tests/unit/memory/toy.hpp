#pragma once

#include <optional>
#include <utility>

#include "models/memory/memory.hpp"
#include "sim/core/quantity.hpp"

namespace moesim {

/// One layer small enough for arithmetic on paper: hidden 100, no vocabulary, one KV head of 50 (200 B of cache per
/// token in bf16), 4 experts of 3·100·100 parameters (60 kB each in bf16). Weights beside the experts:
/// q, o 2·100·50, k, v 2·100·50: 20,000 parameters; router 400; norms 3·100.
inline Model toy_model(std::optional<int> window = std::nullopt) {
  Architecture architecture;
  architecture.name = "toy";
  architecture.hidden = 100;
  GroupedQueryAttention attention;
  attention.heads = 1;
  attention.kv_heads = 1;
  attention.head_dim = 50;
  attention.window = window;
  MixtureOfExperts experts;
  experts.experts = 4;
  experts.experts_per_token = 1;
  experts.intermediate = 100;
  architecture.blocks["only"] = {attention, std::nullopt, experts};
  architecture.layers = {{.pattern = {"only"}}};
  return Model(std::move(architecture), {"toy.json", ""});
}

/// Bytes of the toy beside KV cache and activations, all experts on one rank: 2·(20000 + 4·30000 + 400 + 300).
constexpr double kToyWeights = 281400.0;

/// A decode step's activations per token: 2·100 of residual, and the expert's input, output (100 each) and inner
/// 3·100, 2 B: wider than the attention's 2·50·2.
constexpr double kToyActivations = 2.0 * (200 + 500);

inline MemoryRequest toy_request(const Model& model) {
  return {.model = model,
          .expert_slots = {4},
          .sequences = 10,
          .tokens_per_sequence = 100,
          .step_tokens = 10,
          .reserve = Bytes{}};
}

inline Accelerator toy_accelerator(double memory) {
  Accelerator accelerator;
  accelerator.name = "toy GPU";
  accelerator.memory = bytes(memory);
  return accelerator;
}

}  // namespace moesim
