// A recorded trace without a header: the first three bytes are the shape that the reader is told.
#include "tests/fuzz/trace_harness.hpp"

using namespace moesim;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) {
    return 0;
  }
  TraceOptions options;
  options.raw = RawTraceShape{.layers = data[0], .k = data[1], .experts = data[2], .tokens = std::nullopt};
  fuzz::read_trace(fuzz::bytes_of(data + 3, size - 3), "input.u8", options);
  // The same bytes as a name.
  static_cast<void>(raw_shape_from_name(fuzz::text_of(data, size)));
  return 0;
}
