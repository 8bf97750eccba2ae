#pragma once

#include <compare>

namespace moesim {

/// A physical quantity: a double in base units (s, B, FLOP, USD) whose dimension the compiler checks.
///
/// Template arguments are the exponents of time, data, floating-point operations and money. Adding or comparing
/// quantities of different dimension does not compile; a product or quotient has the dimension algebra says, and is
/// a plain double where nothing is left. Numbers enter and leave only through the named functions below and the
/// unit table in units.hpp.
template <int TimeExp, int DataExp, int FlopExp, int MoneyExp>
class Quantity {
 public:
  constexpr Quantity() = default;

  /// From a number in base units. Named so that the conversion is seen at the place where it happens.
  [[nodiscard]] static constexpr Quantity from_base(double value) {
    Quantity result;
    result.value_ = value;
    return result;
  }
  /// The number in base units (s, B, FLOP, USD and their products).
  [[nodiscard]] constexpr double base() const { return value_; }

  constexpr auto operator<=>(const Quantity&) const = default;

  constexpr Quantity& operator+=(Quantity other) {
    value_ += other.value_;
    return *this;
  }
  constexpr Quantity& operator-=(Quantity other) {
    value_ -= other.value_;
    return *this;
  }
  constexpr Quantity& operator*=(double factor) {
    value_ *= factor;
    return *this;
  }
  friend constexpr Quantity operator+(Quantity a, Quantity b) { return a += b; }
  friend constexpr Quantity operator-(Quantity a, Quantity b) { return a -= b; }
  friend constexpr Quantity operator*(Quantity a, double factor) { return a *= factor; }
  friend constexpr Quantity operator*(double factor, Quantity a) { return a *= factor; }
  friend constexpr Quantity operator/(Quantity a, double divisor) { return from_base(a.value_ / divisor); }

 private:
  double value_ = 0.0;
};

namespace detail {
template <int T, int B, int F, int M>
constexpr auto make_quantity(double value) {
  if constexpr (T == 0 && B == 0 && F == 0 && M == 0) {
    return value;
  } else {
    return Quantity<T, B, F, M>::from_base(value);
  }
}
}  // namespace detail

template <int T1, int B1, int F1, int M1, int T2, int B2, int F2, int M2>
constexpr auto operator*(Quantity<T1, B1, F1, M1> a, Quantity<T2, B2, F2, M2> b) {
  return detail::make_quantity<T1 + T2, B1 + B2, F1 + F2, M1 + M2>(a.base() * b.base());
}

template <int T1, int B1, int F1, int M1, int T2, int B2, int F2, int M2>
constexpr auto operator/(Quantity<T1, B1, F1, M1> a, Quantity<T2, B2, F2, M2> b) {
  return detail::make_quantity<T1 - T2, B1 - B2, F1 - F2, M1 - M2>(a.base() / b.base());
}

using Duration = Quantity<1, 0, 0, 0>;    ///< s
using Bytes = Quantity<0, 1, 0, 0>;       ///< B
using Bandwidth = Quantity<-1, 1, 0, 0>;  ///< B/s
using Flops = Quantity<0, 0, 1, 0>;       ///< FLOP (a multiply-add counts as two)
using FlopRate = Quantity<-1, 0, 1, 0>;   ///< FLOP/s
using Price = Quantity<0, 0, 0, 1>;       ///< USD
using PriceRate = Quantity<-1, 0, 0, 1>;  ///< USD/s

constexpr Duration seconds(double value) { return Duration::from_base(value); }
constexpr Bytes bytes(double value) { return Bytes::from_base(value); }
constexpr Bandwidth bytes_per_second(double value) { return Bandwidth::from_base(value); }
constexpr Flops flops(double value) { return Flops::from_base(value); }
constexpr FlopRate flops_per_second(double value) { return FlopRate::from_base(value); }

}  // namespace moesim
