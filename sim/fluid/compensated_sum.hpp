#pragma once

namespace moesim {

/// A running sum that carries its rounding error along (Knuth's two-sum; Ogita, Rump, Oishi 2005, algorithm 4.4):
/// as if summed in twice the precision of double and rounded once.
class CompensatedSum {
 public:
  CompensatedSum() = default;
  explicit CompensatedSum(double value) : sum_(value) {}

  void add(double term) {
    const double total = sum_ + term;
    const double shadow = total - sum_;
    error_ += (sum_ - (total - shadow)) + (term - shadow);
    sum_ = total;
  }
  [[nodiscard]] double value() const { return sum_ + error_; }

 private:
  double sum_ = 0.0;
  double error_ = 0.0;
};

}  // namespace moesim
