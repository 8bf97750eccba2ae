#include "sim/training/pipeline.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>

#include "sim/core/error.hpp"
#include "sim/engine/event_queue.hpp"

namespace moesim {

namespace {

/// When something is at hand, by stage and micro-batch.
class Arrivals {
 public:
  Arrivals(std::size_t stages, std::size_t micro_batches)
      : micro_batches_(micro_batches), times_(stages * micro_batches) {}
  std::optional<SimTime>& operator[](const StageVisit& visit) {
    return times_[visit.stage * micro_batches_ + visit.micro_batch];
  }

 private:
  std::size_t micro_batches_;
  std::vector<std::optional<SimTime>> times_;
};

class PipelineSimulation {
 public:
  PipelineSimulation(const PipelineSchedule& schedule, const PipelineShape& shape, const PassTime& pass_time,
                     const SendTime& send_time)
      : schedule_(schedule),
        shape_(shape),
        pass_time_(pass_time),
        send_time_(send_time),
        stages_(schedule.stages(shape)),
        order_(schedule.order(shape)),
        next_(shape.ranks, 0),
        free_(shape.ranks),
        runs_(shape.ranks, false),
        activations_(stages_, shape.micro_batches),
        gradients_(stages_, shape.micro_batches),
        forward_(stages_, shape.micro_batches),
        backward_(stages_, shape.micro_batches) {}

  PipelineRun run() {
    run_.ranks.resize(shape_.ranks);
    for (std::size_t rank = 0; rank < shape_.ranks; ++rank) {
      start(rank);
    }
    while (const auto event = queue_.pop()) {
      finish(event->payload);
    }
    for (std::size_t rank = 0; rank < shape_.ranks; ++rank) {
      ensure(next_[rank] == order_[rank].size(), "a schedule's ranks wait for each other for ever");
    }
    return std::move(run_);
  }

 private:
  /// When a forward pass may start; absent: not known yet.
  std::optional<SimTime> ready_forward(const StageVisit& visit) {
    return visit.stage == 0 ? std::optional(SimTime()) : activations_[visit];
  }
  std::optional<SimTime> ready_backward(const StageVisit& visit) {
    const std::optional<SimTime> own = forward_[visit];
    const std::optional<SimTime> behind = visit.stage + 1 == stages_ ? own : gradients_[visit];
    return own && behind ? std::optional(std::max(*own, *behind)) : std::nullopt;
  }
  std::optional<SimTime> ready(const ScheduleItem& item) {
    switch (item.pass) {
      case Pass::kForward:
        return ready_forward(item.visit);
      case Pass::kBackward:
      case Pass::kBackwardInput:
        return ready_backward(item.visit);
      case Pass::kBackwardWeight:
        return backward_[item.visit];
      case Pass::kForwardBackward: {
        const auto ahead = ready_forward(item.visit);
        const auto back = ready_backward(item.backward);
        return ahead && back ? std::optional(std::max(*ahead, *back)) : std::nullopt;
      }
    }
    return std::nullopt;
  }

  /// The rank's next item, where all that it needs is known of. It may lie ahead of the clock.
  void start(std::size_t rank) {
    if (runs_[rank] || next_[rank] == order_[rank].size()) {
      return;
    }
    const ScheduleItem& item = order_[rank][next_[rank]];
    const std::optional<SimTime> at = ready(item);
    if (!at) {
      return;
    }
    const SimTime begin = std::max(*at, free_[rank]);
    free_[rank] = begin + pass_time_(item);
    run_.ranks[rank].push_back({item, begin, free_[rank]});
    ++next_[rank];
    runs_[rank] = true;
    queue_.push(free_[rank], Phase::kCompletion, rank);
  }

  /// The rank's last item that started ends; who waits for it hears of it.
  void finish(std::size_t rank) {
    const PlacedItem done = run_.ranks[rank].back();
    runs_[rank] = false;
    run_.end = std::max(run_.end, done.end);
    const ScheduleItem& item = done.item;
    if (item.pass == Pass::kForward || item.pass == Pass::kForwardBackward) {
      passed_forward(rank, item.visit, done.end);
    }
    if (item.pass == Pass::kBackward || item.pass == Pass::kBackwardInput) {
      passed_backward(rank, item.visit, done.end);
    } else if (item.pass == Pass::kForwardBackward) {
      passed_backward(rank, item.backward, done.end);
    }
    start(rank);
  }
  void passed_forward(std::size_t rank, const StageVisit& visit, SimTime end) {
    forward_[visit] = end;
    if (visit.stage + 1 < stages_) {
      send(rank, {visit.stage + 1, visit.micro_batch}, end, SendWay::kForward);
    }
  }
  void passed_backward(std::size_t rank, const StageVisit& visit, SimTime end) {
    backward_[visit] = end;
    if (visit.stage > 0) {
      send(rank, {visit.stage - 1, visit.micro_batch}, end, SendWay::kBackward);
    }
  }
  void send(std::size_t from, const StageVisit& to, SimTime end, SendWay way) {
    const std::size_t rank = schedule_.rank_of(shape_, to);
    (way == SendWay::kForward ? activations_ : gradients_)[to] = from == rank ? end : end + send_time_(from, rank, way);
    if (rank != from) {
      start(rank);
    }
  }

  const PipelineSchedule& schedule_;
  const PipelineShape& shape_;
  const PassTime& pass_time_;
  const SendTime& send_time_;
  std::size_t stages_;
  ScheduleOrder order_;
  std::vector<std::size_t> next_;  ///< [ranks]: items that have started
  std::vector<SimTime> free_;      ///< [ranks]: end of the last of them
  std::vector<bool> runs_;         ///< [ranks]: whether that has not ended yet
  Arrivals activations_;           ///< of the stage before, at hand for this one
  Arrivals gradients_;             ///< of the stage behind
  Arrivals forward_;               ///< end of this stage's passes
  Arrivals backward_;
  EventQueue<std::size_t> queue_;  ///< ranks whose item ends
  PipelineRun run_;
};

}  // namespace

SimTime PipelineRun::bubble(std::size_t rank) const {
  SimTime idle = end;
  for (const PlacedItem& placed : ranks[rank]) {
    idle -= placed.end - placed.begin;
  }
  return idle;
}

PipelineRun run_pipeline(const PipelineSchedule& schedule, const PipelineShape& shape, const PassTime& pass_time,
                         const SendTime& send_time) {
  return PipelineSimulation(schedule, shape, pass_time, send_time).run();
}

}  // namespace moesim
