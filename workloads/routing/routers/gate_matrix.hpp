#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace moesim {

/// The linear routers of all layers: logits = x·W.
struct GateMatrix {
  std::size_t layers = 0;
  std::size_t width = 0;
  std::size_t experts = 0;
  std::vector<float> weights;  ///< [layers, width, experts]
  std::vector<float> bias;     ///< [layers, experts], for the selection only; empty: none

  /// Independent normal weights such that logits of tokens of the token model have about this standard deviation.
  static GateMatrix untrained(std::size_t layers, std::size_t width, std::size_t experts, double sharpness,
                              std::uint64_t seed);

  [[nodiscard]] std::span<const float> layer(std::size_t index) const {
    return std::span(weights).subspan(index * width * experts, width * experts);
  }
  [[nodiscard]] std::span<const float> layer_bias(std::size_t index) const {
    return bias.empty() ? std::span<const float>{} : std::span(bias).subspan(index * experts, experts);
  }
};

/// out [rows, experts] = x [rows, width] · w [width, experts], summed in the order of `width`.
void multiply(std::span<const float> x, std::span<const float> w, std::size_t width, std::size_t experts,
              std::span<float> out);

}  // namespace moesim
