#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "sim/core/random.hpp"

namespace moesim {

/// The hold model (Vaucher, Duval 1975; Jones 1986): a queue of constant size, from which the next event is popped and
/// one pushed at its time plus an exponential increment. The increments, of mean 1 µs in ticks, are drawn beforehand,
/// so that the queue is measured and not the logarithm.
class HoldIncrements {
 public:
  HoldIncrements() {
    RandomStream random(1, "hold");
    for (std::int64_t& increment : increments_) {
      increment = 1 + static_cast<std::int64_t>(kMean * random.exponential());
    }
  }
  std::int64_t next() { return increments_[i_++ % increments_.size()]; }

  static constexpr double kMean = 1e6;

 private:
  std::vector<std::int64_t> increments_ = std::vector<std::int64_t>(65536);
  std::size_t i_ = 0;
};

/// Holds per call of another simulator's loop.
inline constexpr std::int64_t kHoldBatch = 100'000;

}  // namespace moesim
