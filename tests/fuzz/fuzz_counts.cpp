// Expert counts as JSON.
#include <cmath>

#include "tests/fuzz/harness.hpp"
#include "workloads/routing/count_trace.hpp"

using namespace moesim;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::may_refuse([&] {
    const CountTrace trace = parse_counts("input.json", fuzz::text_of(data, size));
    fuzz::require(trace.layers > 0 && trace.experts > 0, "layers and experts");
    fuzz::require(trace.counts.size() == trace.layers * trace.experts, "a count for each");
    fuzz::require(trace.file_layers.size() == trace.layers, "a row of the file for each layer");
    for (const double count : trace.counts) {
      fuzz::require(std::isfinite(count) && count >= 0.0, "counts, not negative");
    }
  });
  return 0;
}
