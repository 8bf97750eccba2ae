#include "sim/training/pipeline.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <random>

#include "tests/unit/training/pipelines.hpp"

using namespace moesim;
using namespace moesim::test;

// F forward, B input gradients, W weight gradients, F&B both side by side; the README of deepseek-ai/DualPipe calls B
// what is B + W here:
//   GPipe, 1F1B   (P - 1)(F + B + W)
//   interleaved   (P - 1)(F + B + W) / v, with F, B, W of all v chunks of a rank
//   ZB1P          (P - 1)(F + B - W)
// ZB1P's holds where F >= W, so that a rank behind never waits for weight gradients of the one before.
TEST_CASE("bubbles of equal stages are those of the closed forms", "[training]") {
  for (const EqualTimes& times : {EqualTimes{10, 10, 10, 27}, EqualTimes{12, 13, 9, 30}, EqualTimes{7, 9, 6, 20}}) {
    const auto& [f, b, w, unused] = times;
    for (const std::int64_t ranks : {2, 4, 8, 16}) {
      const PipelineShape shape{static_cast<std::size_t>(ranks), 1, 48};
      INFO("P = " << ranks << ", F = " << f);
      for (std::size_t rank = 0; rank < shape.ranks; ++rank) {
        CHECK(bubble("gpipe", shape, times, rank) == (ranks - 1) * (f + b + w));
        CHECK(bubble("1f1b", shape, times, rank) == (ranks - 1) * (f + b + w));
        CHECK(bubble("interleaved-1f1b", {shape.ranks, 3, 48}, times, rank) == (ranks - 1) * (f + b + w));
        CHECK(bubble("zb-1p", shape, times, rank) == (ranks - 1) * (f + b - w));
      }
    }
  }
}

// DualPipe's README: (P/2 - 1)(F&B + B - 3W) with B = 2W, which its figure has equal passes F = W for. That is the
// middle ranks' bubble; those farther out have more passes that are not side by side, as many ticks less to wait.
TEST_CASE("DualPipe's bubble is that of its closed form", "[training]") {
  for (const std::int64_t pass : {10, 13, 100}) {
    for (const std::int64_t both : {2 * pass + 1, 5 * pass / 2, 3 * pass}) {
      for (const std::size_t half : {1, 2, 4, 8}) {
        const EqualTimes times{pass, pass, pass, both};
        const PipelineShape shape{2 * half, 1, 48};
        const auto expected = static_cast<std::int64_t>(half - 1) * (both - pass);
        CHECK(bubble("dualpipe", shape, times, half - 1) == expected);
        CHECK(bubble("dualpipe", shape, times, half) == expected);
        CHECK(bubble("dualpipe-v", {half, 2, 48}, times, half - 1) == expected);
        for (std::size_t place = 0; place + 2 <= half; ++place) {
          const auto one_by_one = static_cast<std::int64_t>(half - 2 - place);
          CHECK(bubble("dualpipe", shape, times, place) == expected - one_by_one * (3 * pass - both));
        }
      }
    }
  }
}

TEST_CASE("one rank has no bubble", "[training]") {
  for (const char* name : {"gpipe", "1f1b", "interleaved-1f1b", "overlapped-1f1b", "zb-1p"}) {
    CHECK(bubble(name, {1, 1, 5}, {3, 2, 4, 7}) == 0);
  }
}

// Two ranks, two micro-batches, 1F1B, F = 10, B + W = 20, a send takes 3. Rank 1: F0 at 13, B0 23 to 43, F1 (there
// since 23) to 53, B1 to 73. Rank 0: F0, F1 to 20, B0 at 46 to 66, B1 at 76 to 96.
TEST_CASE("sends delay who waits for them", "[training]") {
  const SendTime send = [](std::size_t, std::size_t, SendWay) { return SimTime::from_ticks(3); };
  const PipelineRun run = run_pipeline(schedule_of("1f1b"), {2, 1, 2}, EqualTimes{10, 8, 12}.time(), send);
  CHECK(run.end.ticks() == 96);
  CHECK(run.ranks[1][0].begin.ticks() == 13);
  CHECK(run.ranks[1][3].end.ticks() == 73);
  CHECK(run.ranks[0][2].begin.ticks() == 46);
  CHECK(run.bubble(0).ticks() == 96 - 60);
}

// Every item's start is the latest of all that it must wait for: relaxed from nothing until nothing moves any more.
TEST_CASE("uneven stages take what relaxing all constraints by brute force gives", "[training]") {
  std::mt19937 random(7);
  for (const PipelineSchedule& schedule : pipeline_schedules()) {
    const std::size_t chunks = schedule.name == "dualpipe-v" || schedule.name == "interleaved-1f1b" ? 2 : 1;
    const PipelineShape shape{4, chunks, 12};
    std::map<std::pair<Pass, std::uint32_t>, std::int64_t> ticks;
    const auto time_of = [&](Pass pass, std::uint32_t stage) {
      auto& known = ticks[{pass, stage}];
      known = known == 0 ? static_cast<std::int64_t>(1 + random() % 50) : known;
      return known;
    };
    const PassTime pass_time = [&](const ScheduleItem& item) {
      return SimTime::from_ticks(item.pass == Pass::kForwardBackward ? time_of(Pass::kForward, item.visit.stage) +
                                                                           time_of(Pass::kBackward, item.backward.stage)
                                                                     : time_of(item.pass, item.visit.stage));
    };
    const SendTime send_time = [](std::size_t from, std::size_t to, SendWay way) {
      return SimTime::from_ticks(static_cast<std::int64_t>(1 + from + 2 * to + (way == SendWay::kForward ? 0 : 5)));
    };
    const PipelineRun run = run_pipeline(schedule, shape, pass_time, send_time);

    const std::size_t stages = schedule.stages(shape);
    const ScheduleOrder order = schedule.order(shape);
    std::map<StageVisit, std::int64_t> forward;
    std::map<StageVisit, std::int64_t> backward;
    std::vector<std::vector<std::int64_t>> begin(shape.ranks);
    for (bool moved = true; moved;) {
      moved = false;
      for (std::size_t rank = 0; rank < shape.ranks; ++rank) {
        begin[rank].resize(order[rank].size(), 0);
        std::int64_t free = 0;
        for (std::size_t i = 0; i < order[rank].size(); ++i) {
          const ScheduleItem& item = order[rank][i];
          std::int64_t at = free;
          const auto wait = [&](std::map<StageVisit, std::int64_t>& ends, StageVisit visit, SendWay way) {
            const std::size_t from = schedule.rank_of(shape, visit);
            at = std::max(at, ends[visit] + (from == rank ? 0 : send_time(from, rank, way).ticks()));
          };
          const auto wait_forward = [&](StageVisit visit) {
            if (visit.stage > 0) {
              wait(forward, {visit.stage - 1, visit.micro_batch}, SendWay::kForward);
            }
          };
          const auto wait_backward = [&](StageVisit visit) {
            wait(forward, visit, SendWay::kForward);
            if (visit.stage + 1 < stages) {
              wait(backward, {visit.stage + 1, visit.micro_batch}, SendWay::kBackward);
            }
          };
          if (item.pass == Pass::kForward || item.pass == Pass::kForwardBackward) {
            wait_forward(item.visit);
          }
          if (item.pass == Pass::kBackward || item.pass == Pass::kBackwardInput) {
            wait_backward(item.visit);
          } else if (item.pass == Pass::kForwardBackward) {
            wait_backward(item.backward);
          } else if (item.pass == Pass::kBackwardWeight) {
            at = std::max(at, backward[item.visit]);
          }
          moved |= at != begin[rank][i];
          begin[rank][i] = at;
          free = at + pass_time(item).ticks();
          if (item.pass == Pass::kForward || item.pass == Pass::kForwardBackward) {
            moved |= forward[item.visit] != free;
            forward[item.visit] = free;
          }
          if (item.pass != Pass::kForward && item.pass != Pass::kBackwardWeight) {
            const StageVisit visit = item.pass == Pass::kForwardBackward ? item.backward : item.visit;
            moved |= backward[visit] != free;
            backward[visit] = free;
          }
        }
      }
    }
    INFO(schedule.name);
    for (std::size_t rank = 0; rank < shape.ranks; ++rank) {
      REQUIRE(run.ranks[rank].size() == order[rank].size());
      for (std::size_t i = 0; i < order[rank].size(); ++i) {
        CHECK(run.ranks[rank][i].begin.ticks() == begin[rank][i]);
      }
    }
  }
}
