#include "sim/fluid/tag_queue.hpp"

#include <catch2/catch.hpp>
#include <cstddef>

namespace moesim::fluid {
namespace {

TEST_CASE("A flow that comes back a thousand times has one entry", "[fluid]") {
  // Between links of one level, flows go to and fro within an instant, and come back with the tag that they had.
  TagQueue queue;
  std::size_t looked_up = 0;
  const auto holds = [&](const TagQueue::Entry&) {
    ++looked_up;
    return true;
  };
  constexpr std::size_t kFlows = 20;
  constexpr std::size_t kTimes = 1000;
  for (std::size_t time = 0; time < kTimes; ++time) {
    for (std::uint32_t flow = 0; flow < kFlows; ++flow) {
      queue.push({static_cast<double>(flow), flow});
      queue.tidy(holds, kFlows);
    }
  }
  CHECK(looked_up < 4 * kFlows * kTimes);
  for (std::uint32_t flow = 0; flow < kFlows; ++flow) {
    const TagQueue::Entry* least = queue.least([](const TagQueue::Entry&) { return true; });
    REQUIRE(least != nullptr);
    CHECK(least->item == flow);
    while (least != nullptr && least->item == flow) {
      queue.pop();
      least = queue.least([](const TagQueue::Entry&) { return true; });
    }
  }
}

}  // namespace
}  // namespace moesim::fluid
