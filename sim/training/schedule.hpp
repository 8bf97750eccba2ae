#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/core/error.hpp"
#include "sim/program/training_pass.hpp"

/// In which order each rank of a pipeline runs the passes of its chunks: pure orders, without times.
namespace moesim {

/// P ranks, each with `chunks` runs of layers (virtual stages), through which micro-batches 0 … m−1 go.
struct PipelineShape {
  std::size_t ranks = 1;
  std::size_t chunks = 1;
  std::size_t micro_batches = 1;
};

/// A micro-batch in a stage. Stages are runs of layers in the model's order, 0 … S−1.
struct StageVisit {
  std::uint32_t stage = 0;
  std::uint32_t micro_batch = 0;
  auto operator<=>(const StageVisit&) const = default;
};

/// One thing a rank does. A kForwardBackward has the forward pass of `visit` and the backward pass of `backward`.
struct ScheduleItem {
  Pass pass = Pass::kForward;
  StageVisit visit;
  StageVisit backward = {};
};

/// [ranks], in order.
using ScheduleOrder = std::vector<std::vector<ScheduleItem>>;

/// One row of the table of schedules, which `moesim list schedules` shows.
struct PipelineSchedule {
  std::string_view name;
  std::string_view summary;
  std::string_view source;
  /// Stages that the model is cut into.
  std::size_t (*stages)(const PipelineShape& shape);
  /// On which rank a micro-batch passes a stage.
  std::size_t (*rank_of)(const PipelineShape& shape, const StageVisit& visit);
  /// Why it cannot run; empty where it can.
  std::string (*obstacle)(const PipelineShape& shape);
  ScheduleOrder (*order)(const PipelineShape& shape);
  /// How many ranks hold the weights of a stage: 2 where micro-batches go both ways through the ranks.
  std::size_t copies = 1;
};
std::span<const PipelineSchedule> pipeline_schedules();
/// Throws ConfigError at `place`, with a suggestion, where there is none of that name.
const PipelineSchedule& find_schedule(std::string_view name, const Place& place);

/// The stages that a rank holds, rising.
std::vector<std::size_t> stages_of_rank(const PipelineSchedule& schedule, const PipelineShape& shape, std::size_t rank);

/// Micro-batches of a stage that a rank keeps something of.
struct InFlight {
  std::size_t micro_batches = 0;    ///< in flight
  std::size_t before_backward = 0;  ///< of them, those whose gradients have not gone back through the stage
};

/// What a rank has to keep for backward passes: micro-batches in flight, [stages], at the moment when `weighed` by the
/// size of a stage's activations they are most. One is in flight from the start of its forward pass to the end of the
/// last pass that needs it (its weight gradients, where those are put off). A forward pass beside a backward one takes
/// up layer by layer what the other gives back, so that the two count as one.
std::vector<InFlight> most_in_flight(const std::vector<ScheduleItem>& order, std::span<const double> weight);

}  // namespace moesim
