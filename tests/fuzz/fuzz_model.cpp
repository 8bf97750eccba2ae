// A model's file: decoded, encoded, and where it is valid as a model, its parameters counted.
#include <cmath>

#include "models/architecture/architecture.hpp"
#include "tests/fuzz/describe_harness.hpp"

using namespace moesim;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::may_refuse([&] {
    const Model model(fuzz::decode_and_back<Architecture>(fuzz::text_of(data, size)), {"input", {}});
    const double total = total_parameters(model).total();
    fuzz::require(std::isfinite(total) && total >= 0.0, "a number of parameters");
    fuzz::require(active_parameters(model).total() >= 0.0, "a number of active parameters");
  });
  return 0;
}
