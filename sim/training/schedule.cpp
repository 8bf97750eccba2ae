#include "sim/training/schedule.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <numeric>

#include "sim/core/suggest.hpp"
#include "sim/training/schedule_orders.hpp"

namespace moesim {

namespace {

std::size_t one_stage_a_rank(const PipelineShape& shape) { return shape.ranks; }
std::size_t all_chunks(const PipelineShape& shape) { return shape.ranks * shape.chunks; }
std::size_t two_stages_a_rank(const PipelineShape& shape) { return 2 * shape.ranks; }

std::size_t rank_in_turn(const PipelineShape& shape, const StageVisit& visit) { return visit.stage % shape.ranks; }

/// The first half of the micro-batches goes from rank 0 to the last, the other half the other way.
std::size_t rank_both_ways(const PipelineShape& shape, const StageVisit& visit) {
  return visit.micro_batch < shape.micro_batches / 2 ? visit.stage : shape.ranks - 1 - visit.stage;
}
/// There and back again.
std::size_t rank_of_v(const PipelineShape& shape, const StageVisit& visit) {
  return visit.stage < shape.ranks ? visit.stage : 2 * shape.ranks - 1 - visit.stage;
}

std::string one_chunk_only(const PipelineShape& shape) {
  return shape.chunks == 1 ? "" : fmt::format("it has no virtual stages; found {} a rank", shape.chunks);
}
std::string whole_rounds(const PipelineShape& shape) {
  return shape.chunks == 1 || shape.micro_batches % shape.ranks == 0
             ? ""
             : fmt::format("its micro-batches come in rounds of {}, one a rank; found {}", shape.ranks,
                           shape.micro_batches);
}
std::string both_ways_need(const PipelineShape& shape) {
  if (shape.ranks % 2 != 0) {
    return fmt::format("it needs an even number of pipeline ranks; found {}", shape.ranks);
  }
  if (shape.micro_batches % 2 != 0 || shape.micro_batches < 2 * shape.ranks) {
    return fmt::format("it needs an even number of micro-batches, at least {}; found {}", 2 * shape.ranks,
                       shape.micro_batches);
  }
  return one_chunk_only(shape);
}
std::string v_needs(const PipelineShape& shape) {
  if (shape.chunks != 2) {
    return fmt::format("each rank has two virtual stages; found {}", shape.chunks);
  }
  return shape.micro_batches >= 2 * shape.ranks
             ? ""
             : fmt::format("it needs at least {} micro-batches; found {}", 2 * shape.ranks, shape.micro_batches);
}

constexpr PipelineSchedule kSchedules[] = {
    {"gpipe", "all forward passes, then all backward passes", "Huang et al. 2019, arXiv 1811.06965", one_stage_a_rank,
     rank_in_turn, one_chunk_only, gpipe_order},
    {"1f1b", "one forward, one backward pass in turn, as soon as there is one to run",
     "PipeDream-Flush, arXiv 2006.09503", one_stage_a_rank, rank_in_turn, one_chunk_only, one_f_one_b_order},
    {"interleaved-1f1b", "the same with several virtual stages a rank", "Megatron-LM, arXiv 2104.04473 section 2.2",
     all_chunks, rank_in_turn, whole_rounds, interleaved_order},
    {"overlapped-1f1b",
     "forward and backward passes of the steady phase side by side, so that each hides the other's exchanges",
     "Megatron-Core, overlap_moe_expert_parallel_comm", all_chunks, rank_in_turn, whole_rounds, overlapped_order},
    {"zb-1p", "weight gradients put off into the bubble; every rank keeps as many micro-batches as the first of 1f1b",
     "ZB-H1, Qi et al. 2024, arXiv 2401.10241", one_stage_a_rank, rank_in_turn, one_chunk_only, zero_bubble_order},
    {"dualpipe", "micro-batches enter at both ends; forward and backward passes side by side; weights twice",
     "DeepSeek-V3 report, arXiv 2412.19437 section 3.2.1; deepseek-ai/DualPipe", one_stage_a_rank, rank_both_ways,
     both_ways_need, dualpipe_order, 2},
    {"dualpipe-v", "its half, folded: each rank has a stage on the way there and one on the way back",
     "Qi et al. 2025, \"DualPipe could be better without the Dual\"; deepseek-ai/DualPipe", two_stages_a_rank,
     rank_of_v, v_needs, dualpipe_v_order},
};

}  // namespace

std::span<const PipelineSchedule> pipeline_schedules() { return kSchedules; }

const PipelineSchedule& find_schedule(std::string_view name, const Place& place) {
  std::vector<std::string_view> known;
  for (const PipelineSchedule& schedule : kSchedules) {
    if (schedule.name == name) {
      return schedule;
    }
    known.push_back(schedule.name);
  }
  throw ConfigError(place, fmt::format("expected a schedule, found \"{}\"{}", name, suggestion(name, known)));
}

std::vector<std::size_t> stages_of_rank(const PipelineSchedule& schedule, const PipelineShape& shape,
                                        std::size_t rank) {
  std::vector<std::size_t> stages;
  for (std::uint32_t stage = 0; stage < schedule.stages(shape); ++stage) {
    const auto last = static_cast<std::uint32_t>(shape.micro_batches - 1);
    if (schedule.rank_of(shape, {stage, 0}) == rank || schedule.rank_of(shape, {stage, last}) == rank) {
      stages.push_back(stage);
    }
  }
  return stages;
}

std::vector<InFlight> most_in_flight(const std::vector<ScheduleItem>& order, std::span<const double> weight) {
  std::vector<InFlight> now(weight.size());
  std::vector<InFlight> most = now;
  double heaviest = 0.0;
  const auto weighed = [&] {
    return std::inner_product(
        now.begin(), now.end(), weight.begin(), 0.0, std::plus<>(),
        [](const InFlight& of, double size) { return static_cast<double>(of.micro_batches) * size; });
  };
  for (const ScheduleItem& item : order) {
    InFlight& back = now[item.pass == Pass::kForwardBackward ? item.backward.stage : item.visit.stage];
    back.before_backward -= item.pass == Pass::kForward || item.pass == Pass::kBackwardWeight ? 0 : 1;
    back.micro_batches -= item.pass == Pass::kForward || item.pass == Pass::kBackwardInput ? 0 : 1;
    if (item.pass == Pass::kForward || item.pass == Pass::kForwardBackward) {
      ++now[item.visit.stage].before_backward;
      ++now[item.visit.stage].micro_batches;
      if (const double sum = weighed(); sum > heaviest) {
        heaviest = sum;
        most = now;
      }
    }
  }
  return most;
}

}  // namespace moesim
