#include "workloads/routing/routers/select.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "sim/core/error.hpp"
#include "workloads/routing/routers/select_eight.hpp"
#include "workloads/routing/routers/select_wide.hpp"

namespace moesim {

namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

/// Keeps the best k seen so far in falling order; equal scores in the order in which they come.
class Best {
 public:
  Best(std::span<float> score, ExpertIndex* expert) : score_(score), expert_(expert) {}

  void offer(float score, std::size_t expert) {
    if (size_ == score_.size() && !(score > score_[size_ - 1])) {
      return;
    }
    std::size_t at = size_ < score_.size() ? size_++ : size_ - 1;
    for (; at > 0 && score > score_[at - 1]; --at) {
      score_[at] = score_[at - 1];
      expert_[at] = expert_[at - 1];
    }
    score_[at] = score;
    expert_[at] = static_cast<ExpertIndex>(expert);
  }

 private:
  std::span<float> score_;
  ExpertIndex* expert_;
  std::size_t size_ = 0;
};

float group_worth(std::span<const float> group, GroupScore how) {
  float first = kLowest;
  float second = kLowest;
  for (const float score : group) {
    second = std::max(second, std::min(first, score));
    first = std::max(first, score);
  }
  return how == GroupScore::kBest || group.size() < 2 ? first : first + second;
}

// Cody–Waite reduction x = n·ln 2 + r, |r| ≤ ln 2 / 2, and the polynomial of Cephes expf (S. Moshier,
// netlib.org/cephes), in just this order of operations: select_wide.cpp repeats it lane by lane.
[[gnu::always_inline]] inline float exponential(float x) {
  using namespace sigmoid;
  x = x < -kLargest ? -kLargest : x;
  x = kLargest < x ? kLargest : x;
  const float n = std::nearbyint(x * kLog2E);
  float r = x - n * kLn2High;
  r = r - n * kLn2Low;
  float p = kPolynomial[0];
  for (std::size_t i = 1; i < kPolynomial.size(); ++i) {
    p = p * r + kPolynomial[i];
  }
  p = p * (r * r) + r;
  p = p + 1.0F;
  const auto exponent = static_cast<std::uint32_t>(static_cast<std::int32_t>(n) + 127) << 23;
  return p * std::bit_cast<float>(exponent);
}

[[gnu::always_inline]] inline void sigmoid_loop(std::span<const float> x, std::span<const float> bias,
                                                std::span<float> out) {
  if (bias.empty()) {
    for (std::size_t i = 0; i < x.size(); ++i) {
      out[i] = 1.0F / (1.0F + exponential(0.0F - x[i]));
    }
    return;
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    out[i] = 1.0F / (1.0F + exponential(0.0F - x[i])) + bias[i];
  }
}

[[gnu::always_inline]] inline void exponential_loop(std::span<const float> x, float shift, std::span<float> out) {
  for (std::size_t i = 0; i < x.size(); ++i) {
    out[i] = exponential(x[i] - shift);
  }
}

// The same operations on eight lanes (AVX2; without its fused multiply-add, which rounds once less).
#if defined(__x86_64__)
[[gnu::target("avx2")]] void sigmoid_of_eight(std::span<const float> x, std::span<const float> bias,
                                              std::span<float> out) {
  sigmoid_loop(x, bias, out);
}
[[gnu::target("avx2")]] void exponentials_of_eight(std::span<const float> x, float shift, std::span<float> out) {
  exponential_loop(x, shift, out);
}
#else
constexpr auto sigmoid_of_eight = biased_sigmoid_portable;
constexpr auto exponentials_of_eight = exponentials_portable;
#endif

}  // namespace

void select_experts_portable(const SelectRule& rule, const float* scores, std::size_t tokens, ExpertIndex* out) {
  const std::size_t size = rule.experts / rule.groups;
  std::vector<float> kept(rule.k);
  std::vector<float> worth(rule.groups_per_token);
  std::vector<ExpertIndex> group(rule.groups_per_token);
  for (std::size_t token = 0; token < tokens; ++token) {
    const std::span row(scores + token * rule.experts, rule.experts);
    Best best(kept, out + token * rule.k);
    if (!rule.limits()) {
      for (std::size_t e = 0; e < rule.experts; ++e) {
        best.offer(row[e], e);
      }
      continue;
    }
    Best groups(worth, group.data());
    for (std::size_t g = 0; g < rule.groups; ++g) {
      groups.offer(group_worth(row.subspan(g * size, size), rule.group_score), g);
    }
    std::sort(group.begin(), group.end());
    for (const ExpertIndex g : group) {
      for (std::size_t e = g * size; e < (g + 1) * size; ++e) {
        best.offer(row[e], e);
      }
    }
  }
}

void select_experts(const SelectRule& rule, const float* scores, std::size_t tokens, ExpertIndex* out) {
  ensure(rule.k <= rule.experts / rule.groups * rule.groups_per_token, "as many experts as are chosen");
  if (wide::can_select(rule)) {
    wide::select(rule, scores, tokens, out);
    return;
  }
  if (eight::can_select(rule)) {
    eight::select(rule, scores, tokens, out);
    return;
  }
  select_experts_portable(rule, scores, tokens, out);
}

void biased_sigmoid_portable(std::span<const float> x, std::span<const float> bias, std::span<float> out) {
  sigmoid_loop(x, bias, out);
}

void exponentials_portable(std::span<const float> x, float shift, std::span<float> out) {
  exponential_loop(x, shift, out);
}

void exponentials(std::span<const float> x, float shift, std::span<float> out) {
  const std::size_t done = wide::available() ? wide::exponentials(x, shift, out) : 0;
  const auto rest = eight::available() ? exponentials_of_eight : exponentials_portable;
  rest(x.subspan(done), shift, out.subspan(done));
}

void biased_sigmoid(std::span<const float> x, std::span<const float> bias, std::span<float> out) {
  const std::size_t done = wide::available() ? wide::biased_sigmoid(x, bias, out) : 0;
  const auto rest = eight::available() ? sigmoid_of_eight : biased_sigmoid_portable;
  rest(x.subspan(done), bias.empty() ? bias : bias.subspan(done), out.subspan(done));
}

}  // namespace moesim
