#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "sim/core/id.hpp"
#include "sim/core/time.hpp"
#include "sim/execute/execute.hpp"

namespace moesim {

/// What each rank's time goes to, gapless from the start: every tick is given to one category.
class TimelineRecorder {
 public:
  TimelineRecorder(std::size_t ranks, std::uint32_t stages) : timeline_(ranks), since_(ranks), stage_end_(stages) {}

  /// Something begins that will take a rank's time.
  void begin(RankId rank, SimTime now) { since_[rank.index()] = now; }
  /// Up to where a rank's time has been given, once begun.
  [[nodiscard]] SimTime since(RankId rank) const { return since_[rank.index()]; }
  /// What the rank did from since() to `end`, for an instruction or an exchange: `of` has op, stage and micro_batch.
  /// Notes the stage's progress.
  template <class Of>
  void add(RankId rank, SimTime end, TimeCategory category, const Of& of) {
    add(rank, Segment{{}, end, category, of.op, of.stage, of.micro_batch});
  }
  /// Ranks that are done wait for the last one. Moves what was recorded into `result`.
  void finish(Execution& result);

 private:
  void add(RankId rank, Segment segment);

  std::vector<std::vector<Segment>> timeline_;  // [ranks]
  std::vector<SimTime> since_;                  // [ranks]
  std::vector<SimTime> stage_end_;              // [stages]
};

}  // namespace moesim
