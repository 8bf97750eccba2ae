#include "sim/report/timeline.hpp"

#include <fmt/format.h>

namespace moesim {

namespace {

constexpr int kComputeRow = 0;
constexpr int kCommunicationRow = 1;

bool is_kernel(TimeCategory category) {
  return category == TimeCategory::kCompute || category == TimeCategory::kMemory || category == TimeCategory::kOverhead;
}

/// Ticks as microseconds without rounding: 1234567 ps → 1.234567.
std::string microseconds(SimTime time) {
  return fmt::format("{}.{:06}", time.ticks() / 1'000'000, time.ticks() % 1'000'000);
}

}  // namespace

std::string chrome_trace(const Execution& execution) {
  std::string text = "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n";
  const char* separator = "";
  const auto add = [&](const std::string& event) {
    text += separator;
    text += event;
    separator = ",\n";
  };
  for (std::size_t rank = 0; rank < execution.timeline.size(); ++rank) {
    add(fmt::format(R"({{"ph":"M","name":"process_name","pid":{0},"args":{{"name":"rank {0}"}}}})", rank));
    add(fmt::format(R"({{"ph":"M","name":"process_sort_index","pid":{0},"args":{{"sort_index":{0}}}}})", rank));
    add(fmt::format(R"({{"ph":"M","name":"thread_name","pid":{},"tid":{},"args":{{"name":"compute"}}}})", rank,
                    kComputeRow));
    add(fmt::format(R"({{"ph":"M","name":"thread_name","pid":{},"tid":{},"args":{{"name":"communication"}}}})", rank,
                    kCommunicationRow));
    for (const Segment& segment : execution.timeline[rank]) {
      const std::string part =
          segment.micro_batch == 0 ? "" : fmt::format(R"(,"micro_batch":{})", int{segment.micro_batch});
      add(fmt::format(
          R"({{"ph":"X","name":"{}","cat":"{}","pid":{},"tid":{},"ts":{},"dur":{},"args":{{"stage":{}{}}}}})",
          name_of(segment.op), name_of(segment.category), rank,
          is_kernel(segment.category) ? kComputeRow : kCommunicationRow, microseconds(segment.begin),
          microseconds(segment.end - segment.begin), segment.stage, part));
    }
  }
  return text + "\n]}\n";
}

}  // namespace moesim
