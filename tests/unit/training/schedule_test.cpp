#include "sim/training/schedule.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <numeric>
#include <tuple>

#include "tests/unit/training/pipelines.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

/// Shapes that a schedule can run, small and large.
std::vector<PipelineShape> shapes_for(const PipelineSchedule& schedule) {
  std::vector<PipelineShape> shapes;
  for (const std::size_t ranks : {1, 2, 3, 4, 8, 16}) {
    for (const std::size_t chunks : {1, 2, 3}) {
      for (const std::size_t micro_batches : {1, 4, 16, 48}) {
        const PipelineShape shape{ranks, chunks, micro_batches};
        if (schedule.obstacle(shape).empty()) {
          shapes.push_back(shape);
        }
      }
    }
  }
  return shapes;
}

std::size_t most_of_stages(std::string_view name, const PipelineShape& shape, std::size_t rank) {
  const PipelineSchedule& schedule = schedule_of(name);
  const std::vector<double> alike(schedule.stages(shape), 1.0);
  const auto most = most_in_flight(schedule.order(shape)[rank], alike);
  return std::accumulate(most.begin(), most.end(), std::size_t{0},
                         [](std::size_t sum, const InFlight& of) { return sum + of.micro_batches; });
}

}  // namespace

TEST_CASE("every micro-batch passes every stage once, forward and backward, on the rank that has it", "[training]") {
  for (const PipelineSchedule& schedule : pipeline_schedules()) {
    INFO(schedule.name);
    const auto shapes = shapes_for(schedule);
    REQUIRE_FALSE(shapes.empty());
    for (const PipelineShape& shape : shapes) {
      std::map<std::tuple<Pass, std::uint32_t, std::uint32_t>, int> count;
      const ScheduleOrder order = schedule.order(shape);
      REQUIRE(order.size() == shape.ranks);
      for (std::size_t rank = 0; rank < shape.ranks; ++rank) {
        const auto note = [&](Pass pass, const StageVisit& visit) {
          REQUIRE(schedule.rank_of(shape, visit) == rank);
          ++count[{pass, visit.stage, visit.micro_batch}];
        };
        for (const ScheduleItem& item : order[rank]) {
          note(item.pass == Pass::kForwardBackward ? Pass::kForward : item.pass, item.visit);
          if (item.pass == Pass::kForwardBackward) {
            note(Pass::kBackward, item.backward);
          }
        }
      }
      for (std::uint32_t stage = 0; stage < schedule.stages(shape); ++stage) {
        for (std::uint32_t micro_batch = 0; micro_batch < shape.micro_batches; ++micro_batch) {
          const auto times = [&](Pass pass) { return count[{pass, stage, micro_batch}]; };
          CHECK(times(Pass::kForward) == 1);
          CHECK(times(Pass::kBackward) + times(Pass::kBackwardInput) == 1);
          CHECK(times(Pass::kBackwardInput) == times(Pass::kBackwardWeight));
        }
      }
    }
  }
}

TEST_CASE("ranks run one thing at a time and wait for no one for ever", "[training]") {
  for (const PipelineSchedule& schedule : pipeline_schedules()) {
    for (const PipelineShape& shape : shapes_for(schedule)) {
      INFO(schedule.name << " " << shape.ranks << " x " << shape.chunks << ", " << shape.micro_batches);
      const PipelineRun run = run_pipeline(schedule, shape, EqualTimes{3, 2, 4, 7}.time(), at_once());
      for (const auto& rank : run.ranks) {
        for (std::size_t i = 1; i < rank.size(); ++i) {
          CHECK(rank[i].begin >= rank[i - 1].end);
        }
      }
    }
  }
}

// 1F1B: rank r has its own and those of the ranks behind it. GPipe: all. ZB-H1: as rank 0 of 1F1B. Interleaved
// (Megatron-LM): the forward passes ahead and one more; side by side they count as one. DualPipe's README has P + 1: a
// pair that runs side by side counts as two there, and does not here, but for the one in the middle that is none.
TEST_CASE("as many micro-batches are in flight as the schedules say", "[training]") {
  const PipelineShape shape{8, 1, 24};
  for (std::size_t rank = 0; rank < shape.ranks; ++rank) {
    CHECK(most_of_stages("gpipe", shape, rank) == 24);
    CHECK(most_of_stages("1f1b", shape, rank) == 8 - rank);
    CHECK(most_of_stages("zb-1p", shape, rank) == 8);
    CHECK(most_of_stages("interleaved-1f1b", {8, 3, 24}, rank) == 2 * (7 - rank) + 2 * 8 + 1);
    CHECK(most_of_stages("overlapped-1f1b", {8, 3, 24}, rank) == 2 * (7 - rank) + 2 * 8 + 1);
    CHECK(most_of_stages("dualpipe", shape, rank) == (rank == 3 || rank == 4 ? 9 : 8));
    CHECK(most_of_stages("dualpipe-v", {8, 2, 24}, rank) == (rank == 7 ? 17 : 16));
  }
  CHECK(most_of_stages("1f1b", {8, 1, 3}, 0) == 3);
  // The last rank sends gradients back at once; seven micro-batches wait for those of weights alone.
  const auto last = most_in_flight(schedule_of("zb-1p").order(shape)[7], std::vector<double>(8, 1.0));
  CHECK(last[7].micro_batches == 8);
  CHECK(last[7].before_backward == 1);
  const auto whole = most_in_flight(schedule_of("gpipe").order(shape)[7], std::vector<double>(8, 1.0));
  CHECK(whole[7].before_backward == 24);
}

TEST_CASE("stages of a rank", "[training]") {
  CHECK(stages_of_rank(schedule_of("1f1b"), {4, 1, 8}, 2) == std::vector<std::size_t>{2});
  CHECK(stages_of_rank(schedule_of("interleaved-1f1b"), {4, 2, 8}, 1) == std::vector<std::size_t>{1, 5});
  CHECK(stages_of_rank(schedule_of("dualpipe"), {4, 1, 8}, 1) == std::vector<std::size_t>{1, 2});
  CHECK(stages_of_rank(schedule_of("dualpipe-v"), {4, 2, 8}, 1) == std::vector<std::size_t>{1, 6});
}

TEST_CASE("schedules say why they cannot run", "[training]") {
  CHECK(schedule_of("dualpipe").obstacle({3, 1, 8}) == "it needs an even number of pipeline ranks; found 3");
  CHECK(schedule_of("dualpipe").obstacle({4, 1, 6}) == "it needs an even number of micro-batches, at least 8; found 6");
  CHECK(schedule_of("interleaved-1f1b").obstacle({4, 2, 6}) ==
        "its micro-batches come in rounds of 4, one a rank; found 6");
  CHECK(schedule_of("1f1b").obstacle({4, 2, 8}) == "it has no virtual stages; found 2 a rank");
  CHECK_THROWS_AS(schedule_of("1f2b"), ConfigError);
}
