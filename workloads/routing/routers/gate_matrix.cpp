#include "workloads/routing/routers/gate_matrix.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "sim/core/random.hpp"

namespace moesim {

GateMatrix GateMatrix::untrained(std::size_t layers, std::size_t width, std::size_t experts, double sharpness,
                                 std::uint64_t seed) {
  GateMatrix gates{layers, width, experts, {}, {}};
  gates.weights.resize(layers * width * experts);
  const double deviation = sharpness / std::sqrt(static_cast<double>(width));
  for (std::size_t layer = 0; layer < layers; ++layer) {
    RandomStream random(seed, "router.weights", layer);
    for (std::size_t i = layer * width * experts; i < (layer + 1) * width * experts; ++i) {
      gates.weights[i] = static_cast<float>(deviation * random.normal());
    }
  }
  return gates;
}

void multiply(std::span<const float> x, std::span<const float> w, std::size_t width, std::size_t experts,
              std::span<float> out) {
  constexpr std::size_t kColumns = 16;  // of known number, for the compiler to keep in registers
  const std::size_t rows = x.size() / width;
  for (std::size_t row = 0; row < rows; ++row) {
    const float* input = x.data() + row * width;
    float* output = out.data() + row * experts;
    std::size_t first = 0;
    for (; first + kColumns <= experts; first += kColumns) {
      std::array<float, kColumns> sum{};
      for (std::size_t j = 0; j < width; ++j) {
        const float* weights = w.data() + j * experts + first;
        for (std::size_t c = 0; c < kColumns; ++c) {
          sum[c] += input[j] * weights[c];
        }
      }
      std::copy(sum.begin(), sum.end(), output + first);
    }
    for (; first < experts; ++first) {
      float sum = 0.0F;
      for (std::size_t j = 0; j < width; ++j) {
        sum += input[j] * w[j * experts + first];
      }
      output[first] = sum;
    }
  }
}

}  // namespace moesim
