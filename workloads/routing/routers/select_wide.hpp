#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "workloads/routing/routers/select.hpp"

namespace moesim {

namespace sigmoid {
inline constexpr float kLargest = 87.0F;  // e^±87 are normal numbers
inline constexpr float kLog2E = 1.44269504F;
inline constexpr float kLn2High = 0.693359375F;
inline constexpr float kLn2Low = -2.12194440e-4F;
inline constexpr std::array kPolynomial{1.9875691500e-4F, 1.3981999507e-3F, 8.3334519073e-3F,
                                        4.1665795894e-2F, 1.6666665459e-1F, 5.0000001201e-1F};
}  // namespace sigmoid

/// The same selection with 16 lanes (AVX-512), for machines that have them.
namespace wide {

bool available();
/// Whether a rule's sizes are such that 16 lanes fit: experts of a group a multiple of 16, and k, groups up to 16.
bool can_select(const SelectRule& rule);
void select(const SelectRule& rule, const float* scores, std::size_t tokens, ExpertIndex* out);
/// Both do whole vectors and return how many numbers that were.
std::size_t exponentials(std::span<const float> x, float shift, std::span<float> out);
std::size_t biased_sigmoid(std::span<const float> x, std::span<const float> bias, std::span<float> out);

}  // namespace wide
}  // namespace moesim
