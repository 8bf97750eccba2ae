// A .safetensors file.
#include "tests/fuzz/harness.hpp"
#include "workloads/routing/formats/safetensors.hpp"

using namespace moesim;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::may_refuse([&] {
    const auto file = fuzz::bytes_of(data, size);
    for (const SafeTensor& tensor : parse_safetensors(file, "input.safetensors")) {
      std::size_t bytes = size_of(tensor.type);
      for (const std::size_t extent : tensor.shape) {
        bytes *= extent;
      }
      fuzz::require(bytes == tensor.data.size(), "as many bytes as the shape says");
      fuzz::require(tensor.data.empty() ||
                        (tensor.data.data() >= file.data() && tensor.data.data() + bytes <= file.data() + size),
                    "data within the file");
    }
  });
  return 0;
}
