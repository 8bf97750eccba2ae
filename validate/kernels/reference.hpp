#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "validate/kernels/arguments.hpp"

/// What the kernels must compute, in float64 and by the textbook, element by element: whole outputs of small shapes,
/// samples of large ones.
namespace moesim::bench {

/// ‖out − reference‖ / ‖reference‖ (Frobenius); infinite where a value is NaN, or where the reference is zero and the
/// output is not.
double relative_error(std::span<const double> out, std::span<const double> reference);

/// Σ_k a(k)·b(k), k = 0 … depth − 1.
template <class A, class B>
double dot(std::int64_t depth, const A& a, const B& b) {
  double sum = 0.0;
  for (std::int64_t k = 0; k < depth; ++k) {
    sum += static_cast<double>(a(k)) * static_cast<double>(b(k));
  }
  return sum;
}

/// silu(gate)·up with silu(x) = x/(1 + e^−x).
double swiglu(double gate, double up);

/// softmax_j(scale·q·k_j)·v over keys j = 0 … keys − 1: q(d), k(j, d), v(j, c); returns `value_width` values.
/// Not scaled by log2 e: scale is 1/√d or the model's.
template <class Query, class Key, class Value>
std::vector<double> attention(std::int64_t keys, std::int64_t key_width, std::int64_t value_width, double scale,
                              const Query& q, const Key& k, const Value& v);

struct Choice {
  std::vector<int> experts;  ///< best first
  std::vector<double> weights;
  /// How far the worst choice is ahead of what was left out, and groups likewise: below the float's precision either
  /// answer is right.
  double margin = 0.0;
};
/// The router's decision for one token. Softmax: the k greatest logits, weights e^x normalised over the chosen.
/// Sigmoid (DeepSeek-V3, arXiv 2412.19437, section 2.1.2): by s + bias among the experts of the `groups_kept` groups
/// with the greatest sums of their two best, weights s normalised over the chosen and scaled.
Choice choose(std::span<const float> logits, std::span<const float> bias, RouterScore score, int k, int groups,
              int groups_kept, double weight_scale);

/// x/√(mean(x²) + ε)·w.
std::vector<double> rms_norm(std::span<const double> x, std::span<const double> weight, double epsilon);

/// Copies by expert, stably: element r is the copy at row r.
std::vector<int> stable_order(std::span<const int> chosen);

// ---- ----

namespace detail {
void softmax(std::vector<double>& scores);
}

template <class Query, class Key, class Value>
std::vector<double> attention(std::int64_t keys, std::int64_t key_width, std::int64_t value_width, double scale,
                              const Query& q, const Key& k, const Value& v) {
  std::vector<double> scores(static_cast<std::size_t>(keys));
  for (std::int64_t j = 0; j < keys; ++j) {
    scores[static_cast<std::size_t>(j)] = scale * dot(key_width, q, [&](std::int64_t d) { return k(j, d); });
  }
  detail::softmax(scores);
  std::vector<double> out(static_cast<std::size_t>(value_width));
  for (std::int64_t j = 0; j < keys; ++j) {
    for (std::int64_t c = 0; c < value_width; ++c) {
      out[static_cast<std::size_t>(c)] += scores[static_cast<std::size_t>(j)] * static_cast<double>(v(j, c));
    }
  }
  return out;
}

}  // namespace moesim::bench
