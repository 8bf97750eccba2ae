#include "sim/execute/timeline_recorder.hpp"

#include <algorithm>
#include <utility>

#include "sim/core/error.hpp"

namespace moesim {

void TimelineRecorder::add(RankId rank, Segment segment) {
  SimTime& since = since_[rank.index()];
  auto& timeline = timeline_[rank.index()];
  const SimTime recorded = timeline.empty() ? SimTime() : timeline.back().end;
  ensure(since == recorded && segment.end >= since, "a rank's time is not covered without gaps");
  segment.begin = since;
  since = segment.end;
  stage_end_[segment.stage] = std::max(stage_end_[segment.stage], segment.end);
  if (segment.end > segment.begin) {
    timeline.push_back(segment);
  }
}

void TimelineRecorder::finish(Execution& result) {
  for (const auto& timeline : timeline_) {
    result.end = std::max(result.end, timeline.empty() ? SimTime() : timeline.back().end);
  }
  for (std::size_t rank = 0; rank < timeline_.size(); ++rank) {
    add(RankId(rank), Segment{{},
                              result.end,
                              TimeCategory::kImbalanceWait,
                              StepOperator::kSampling,
                              static_cast<std::uint32_t>(stage_end_.size() - 1)});
  }
  for (std::size_t stage = 1; stage < stage_end_.size(); ++stage) {  // stages that nothing runs in
    stage_end_[stage] = std::max(stage_end_[stage], stage_end_[stage - 1]);
  }
  result.timeline = std::move(timeline_);
  result.stage_end = std::move(stage_end_);
}

}  // namespace moesim
