// A recorded trace as .npy: the header, and the trace behind it.
#include "tests/fuzz/trace_harness.hpp"
#include "workloads/routing/npy.hpp"

using namespace moesim;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = fuzz::bytes_of(data, size);
  fuzz::may_refuse([&] {
    const NpyHeader header = parse_npy_header(file, "input.npy");
    fuzz::require(header.data_offset <= size && header.elements() == (size - header.data_offset) / size_of(header.type),
                  "as many elements as the file has");
  });
  fuzz::read_trace(file, "input.npy", {});
  return 0;
}
