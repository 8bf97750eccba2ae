#pragma once

#include <cstdint>

#include "sim/training/pipeline.hpp"

namespace moesim::test {

/// Ticks of the passes of every stage alike.
struct EqualTimes {
  std::int64_t forward = 0;
  std::int64_t input = 0;   ///< gradients of activations
  std::int64_t weight = 0;  ///< gradients of weights
  std::int64_t both = 0;    ///< a forward beside a whole backward pass; 0: one after the other

  [[nodiscard]] std::int64_t of(Pass pass) const {
    switch (pass) {
      case Pass::kForward:
        return forward;
      case Pass::kBackward:
        return input + weight;
      case Pass::kBackwardInput:
        return input;
      case Pass::kBackwardWeight:
        return weight;
      case Pass::kForwardBackward:
        return both > 0 ? both : forward + input + weight;
    }
    return 0;
  }
  [[nodiscard]] PassTime time() const {
    return [times = *this](const ScheduleItem& item) { return SimTime::from_ticks(times.of(item.pass)); };
  }
};

inline SendTime at_once() {
  return [](std::size_t, std::size_t, SendWay) { return SimTime(); };
}

inline const PipelineSchedule& schedule_of(std::string_view name) { return find_schedule(name, {"test", ""}); }

inline std::int64_t bubble(std::string_view name, const PipelineShape& shape, const EqualTimes& times,
                           std::size_t rank = 0) {
  return run_pipeline(schedule_of(name), shape, times.time(), at_once()).bubble(rank).ticks();
}

}  // namespace moesim::test
