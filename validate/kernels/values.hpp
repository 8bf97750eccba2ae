#pragma once

#include <bit>
#include <cstdint>

/// Numbers in the types that the kernels compute with, and reproducible random ones, for the host and for the device
/// alike: what a kernel was given can be computed again, element by element, without keeping a copy.
namespace moesim::bench {

constexpr float bf16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

/// Rounds to nearest, ties to even; NaN stays NaN.
constexpr std::uint16_t float_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    return 0x7fff;
  }
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/// e4m3: sign, 4 bits of exponent with bias 7, 3 of mantissa; no infinity, 0x7f is NaN. Micikevicius et al., "FP8
/// Formats for Deep Learning", arXiv 2209.05433.
constexpr float e4m3_to_float(std::uint8_t bits) {
  const int exponent = (bits >> 3) & 15;
  const int mantissa = bits & 7;
  if (exponent == 15 && mantissa == 7) {
    return std::bit_cast<float>(0x7fc00000u);
  }
  const float sign = (bits & 0x80) != 0 ? -1.0F : 1.0F;
  // 2^(exponent − 7)·(1 + mantissa/8), or 2^−6·mantissa/8 where the exponent is 0.
  if (exponent == 0) {
    return sign * static_cast<float>(mantissa) * (1.0F / 512.0F);
  }
  const auto power = std::bit_cast<float>(static_cast<std::uint32_t>(exponent - 7 + 127) << 23);
  return sign * power * (1.0F + static_cast<float>(mantissa) * 0.125F);
}

/// Rounds to nearest, ties to even, and saturates at ±448, as the hardware's conversion does.
constexpr std::uint8_t float_to_e4m3(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint8_t>((bits >> 24) & 0x80u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {
    return 0x7f;
  }
  if (magnitude >= 0x43e80000u) {  // 464: half way between 448 and what would follow
    return static_cast<std::uint8_t>(sign | 0x7e);
  }
  const int exponent = static_cast<int>(magnitude >> 23) - 127;
  if (exponent < -10) {  // below half of the least, 2^−9
    return sign;
  }
  // The last bit kept is worth 2^(max(exponent, −6) − 3); shift the 24-bit significand down to it.
  const int shift = exponent >= -6 ? 20 : 20 + (-6 - exponent);
  const std::uint32_t significand = (magnitude & 0x7fffffu) | 0x800000u;
  const std::uint32_t half = 1u << (shift - 1);
  const std::uint32_t rounded = (significand + half - 1u + ((significand >> shift) & 1u)) >> shift;
  const auto biased = static_cast<std::uint32_t>(exponent >= -6 ? exponent + 6 : 0);
  return static_cast<std::uint8_t>(sign | ((biased << 3) + rounded));
}

/// A hash of 64 bits to 32: the finaliser of MurmurHash3 (Appleby), folded.
constexpr std::uint32_t hash(std::uint64_t seed, std::uint64_t index) {
  std::uint64_t x = (seed ^ 0x9e3779b97f4a7c15ULL) + index * 0xd1342543de82ef95ULL;
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdULL;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ULL;
  x ^= x >> 33;
  return static_cast<std::uint32_t>(x >> 32);
}

/// Element `index` of the tensor `seed`: uniform in (−1, 1).
constexpr float random_value(std::uint64_t seed, std::uint64_t index) {
  return (static_cast<float>(hash(seed, index) >> 8) + 0.5F) * (2.0F / 16777216.0F) - 1.0F;
}
constexpr std::uint16_t random_bf16(std::uint64_t seed, std::uint64_t index) {
  return float_to_bf16(random_value(seed, index));
}
constexpr std::uint8_t random_e4m3(std::uint64_t seed, std::uint64_t index) {
  return float_to_e4m3(random_value(seed, index));
}
/// A scale of a block of fp8 values: between 1/2 and 3/2.
constexpr float random_scale(std::uint64_t seed, std::uint64_t index) {
  return 1.0F + 0.5F * random_value(seed, index);
}

}  // namespace moesim::bench
