#pragma once

#include <cstddef>

#include "sim/config/describe.hpp"

namespace moesim {

/// Relative errors e = predicted / measured − 1 of rows that the fit had not seen.
struct FitErrors {
  std::size_t n = 0;
  double mape = 0.0;    ///< mean |e|
  double median = 0.0;  ///< of |e|
  double p90 = 0.0;     ///< of |e|
  double worst = 0.0;   ///< of |e|
  double bias = 0.0;    ///< mean e

  template <class F>
  static void describe(F& f) {
    f.required("n", &FitErrors::n, "Rows held back");
    f.required("mape", &FitErrors::mape, "Mean of |predicted / measured - 1|", Rules::at_least(0));
    f.required("median", &FitErrors::median, "Its median", Rules::at_least(0));
    f.required("p90", &FitErrors::p90, "Its 90th percentile", Rules::at_least(0));
    f.required("worst", &FitErrors::worst, "Its largest", Rules::at_least(0));
    f.required("bias", &FitErrors::bias, "Mean of predicted / measured - 1", Rules::at_least(-1));
  }
};
extern template struct DescribedCodec<FitErrors>;

}  // namespace moesim
