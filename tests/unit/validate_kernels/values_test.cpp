#include "validate/kernels/values.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "sim/core/random.hpp"

namespace moesim::bench {
namespace {

TEST_CASE("bf16 is the upper half of a float, rounded to nearest, ties to even") {
  CHECK(float_to_bf16(1.0F) == 0x3f80);
  CHECK(bf16_to_float(0x4049) == 3.140625F);  // π to 8 bits
  // 1 + 2^-8 lies half way between 1 and 1 + 2^-7: the even one is 1. 1 + 3·2^-8 goes up to 1 + 2^-6.
  CHECK(bf16_to_float(float_to_bf16(1.0F + 0x1p-8F)) == 1.0F);
  CHECK(bf16_to_float(float_to_bf16(1.0F + 3.0F * 0x1p-8F)) == 1.0F + 0x1p-6F);
  CHECK(std::isnan(bf16_to_float(float_to_bf16(std::numeric_limits<float>::quiet_NaN()))));
  CHECK(std::isinf(bf16_to_float(float_to_bf16(std::numeric_limits<float>::infinity()))));
}

TEST_CASE("e4m3 has the values of its definition") {
  CHECK(e4m3_to_float(0x00) == 0.0F);
  CHECK(e4m3_to_float(0x01) == 0x1p-9F);  // the least: 2^-6/8
  CHECK(e4m3_to_float(0x08) == 0x1p-6F);  // the least that is normal
  CHECK(e4m3_to_float(0x38) == 1.0F);
  CHECK(e4m3_to_float(0x7e) == 448.0F);
  CHECK(e4m3_to_float(0xfe) == -448.0F);
  CHECK(std::isnan(e4m3_to_float(0x7f)));
}

TEST_CASE("e4m3 rounds to the nearest value, ties to the even one, and saturates") {
  // All 127 positive values, in order, are their own; between two of them the middle decides.
  for (unsigned bits = 0; bits < 0x7e; ++bits) {
    const float low = e4m3_to_float(static_cast<std::uint8_t>(bits));
    const float high = e4m3_to_float(static_cast<std::uint8_t>(bits + 1));
    const float middle = 0.5F * (low + high);
    CHECK(float_to_e4m3(low) == bits);
    CHECK(float_to_e4m3(-high) == ((bits + 1) | 0x80u));
    CHECK(float_to_e4m3(middle) == (bits % 2 == 0 ? bits : bits + 1));
    CHECK(float_to_e4m3(std::nextafter(middle, 0.0F)) == bits);
    CHECK(float_to_e4m3(std::nextafter(middle, 1000.0F)) == bits + 1);
  }
  CHECK(float_to_e4m3(449.0F) == 0x7e);
  CHECK(float_to_e4m3(1e30F) == 0x7e);
  CHECK(float_to_e4m3(-1e30F) == 0xfe);
  CHECK(float_to_e4m3(0x1p-11F) == 0x00);
}

TEST_CASE("random elements are uniform and differ between tensors") {
  // Mean 0 ± 5·√(1/3/n), variance 1/3 ± 5·√(4/45/n) for uniform in (−1, 1), n = 10^5.
  double sum = 0.0;
  double squares = 0.0;
  double products = 0.0;
  constexpr int kCount = 100000;
  for (std::uint64_t i = 0; i < kCount; ++i) {
    const auto value = static_cast<double>(random_value(7, i));
    CHECK_FALSE(std::abs(value) >= 1.0);
    sum += value;
    squares += value * value;
    products += value * static_cast<double>(random_value(8, i));
  }
  CHECK(sum / kCount == Approx(0.0).margin(5.0 * std::sqrt(1.0 / 3.0 / kCount)));
  CHECK(squares / kCount == Approx(1.0 / 3.0).margin(5.0 * std::sqrt(4.0 / 45.0 / kCount)));
  CHECK(products / kCount == Approx(0.0).margin(5.0 / 3.0 / std::sqrt(kCount)));
}

}  // namespace
}  // namespace moesim::bench
