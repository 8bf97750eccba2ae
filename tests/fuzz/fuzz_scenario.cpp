// A scenario's file.
#include "sim/scenario/scenario.hpp"
#include "tests/fuzz/describe_harness.hpp"

using namespace moesim;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::may_refuse([&] { fuzz::decode_and_back<Scenario>(fuzz::text_of(data, size)); });
  return 0;
}
