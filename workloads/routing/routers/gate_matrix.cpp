#include "workloads/routing/routers/gate_matrix.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "sim/core/random.hpp"
#include "workloads/routing/routers/select_wide.hpp"

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

namespace {

#if defined(__x86_64__)
/// The columns that fill vectors of 16 lanes, four at a time; the same sums in the same order as below.
[[gnu::target("avx512f")]] std::size_t multiply_wide(std::span<const float> x, std::span<const float> w,
                                                     std::size_t width, std::size_t experts, std::span<float> out) {
  constexpr std::size_t kLanes = 16;
  constexpr std::size_t kAtOnce = 4 * kLanes;
  const std::size_t whole = experts / kAtOnce * kAtOnce;
  for (std::size_t row = 0; row < x.size() / width; ++row) {
    const float* input = x.data() + row * width;
    for (std::size_t first = 0; first < whole; first += kAtOnce) {
      __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
      for (std::size_t j = 0; j < width; ++j) {
        const __m512 factor = _mm512_set1_ps(input[j]);
        const float* weights = w.data() + j * experts + first;
        for (std::size_t v = 0; v < 4; ++v) {
          sum[v] = _mm512_add_ps(sum[v], _mm512_mul_ps(factor, _mm512_loadu_ps(weights + v * kLanes)));
        }
      }
      for (std::size_t v = 0; v < 4; ++v) {
        _mm512_storeu_ps(out.data() + row * experts + first + v * kLanes, sum[v]);
      }
    }
  }
  return whole;
}
#else
std::size_t multiply_wide(std::span<const float>, std::span<const float>, std::size_t, std::size_t, std::span<float>) {
  return 0;
}
#endif

}  // namespace

void multiply(std::span<const float> x, std::span<const float> w, std::size_t width, std::size_t experts,
              std::span<float> out) {
  constexpr std::size_t kColumns = 16;  // of known number, for the compiler to keep in registers
  const std::size_t rows = x.size() / width;
  const std::size_t done = wide::available() ? multiply_wide(x, w, width, experts, out) : 0;
  for (std::size_t row = 0; row < rows; ++row) {
    const float* input = x.data() + row * width;
    float* output = out.data() + row * experts;
    std::size_t first = done;
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
