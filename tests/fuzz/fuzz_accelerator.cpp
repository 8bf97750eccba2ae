// An accelerator's file, and a network interface's.
#include "models/hardware/hardware.hpp"
#include "tests/fuzz/describe_harness.hpp"

using namespace moesim;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  fuzz::may_refuse([&] { fuzz::decode_and_back<Accelerator>(text); });
  fuzz::may_refuse([&] { fuzz::decode_and_back<Nic>(text); });
  return 0;
}
