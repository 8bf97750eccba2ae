#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "sim/core/time.hpp"
#include "sim/training/schedule.hpp"

/// Runs a schedule's order with times.
namespace moesim {

/// What an item takes on its rank.
using PassTime = std::function<SimTime(const ScheduleItem& item)>;
/// What activations take from one stage to the next, or gradients back, with their ranks: none where they are one.
enum class SendWay { kForward, kBackward };
using SendTime = std::function<SimTime(std::size_t from_rank, std::size_t to_rank, SendWay way)>;

struct PlacedItem {
  ScheduleItem item;
  SimTime begin;
  SimTime end;
};

struct PipelineRun {
  std::vector<std::vector<PlacedItem>> ranks;  ///< [ranks], in order
  SimTime end;                                 ///< of the last item of all
  /// Of that, what a rank does nothing in.
  [[nodiscard]] SimTime bubble(std::size_t rank) const;
};

/// Each rank runs its items in order, each as soon as what it needs is there:
///   a forward pass: the activations of the stage before;
///   a backward pass: the gradients of the stage behind, and the forward pass of its own stage;
///   weight gradients: the gradients of the activations of its own stage.
/// Sends start when the pass that made the data ends, and run beside whatever the ranks do: their time shows only where
/// the receiver has nothing else to do. They share no link with one another.
PipelineRun run_pipeline(const PipelineSchedule& schedule, const PipelineShape& shape, const PassTime& pass_time,
                         const SendTime& send_time);

}  // namespace moesim
