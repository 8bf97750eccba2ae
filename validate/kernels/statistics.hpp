#pragma once

#include <cstddef>
#include <vector>

namespace moesim::bench {

/// The median; with an even number of values, the mean of the middle two. Of none: 0.
double median(std::vector<double> values);

struct Summary {
  double median = 0.0;
  double least = 0.0;
  /// Half the width of the middle two thirds of the samples, relative to the median: what one sample strays by.
  double spread = 0.0;
  /// Standard error of the median relative to the median: √(π/2)·σ/√n with σ = 1.4826·MAD, the median of the absolute
  /// deviations from the median (for normal noise; Rousseeuw and Croux 1993). A preempted sample does not move it.
  double deviation = 0.0;
};
Summary summary_of(const std::vector<double>& samples);

/// When to stop sampling: settled, or out of time.
struct StopRule {
  double deviation = 0.005;
  std::size_t least = 11;  ///< samples, before the deviation is believed
  std::size_t most = 2000;
  double seconds = 0.25;
};
enum class Stop { kGoOn, kSettled, kTimeLimit };
Stop stop(const StopRule& rule, const std::vector<double>& samples, double elapsed);

}  // namespace moesim::bench
