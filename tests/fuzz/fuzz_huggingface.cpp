// A Hugging Face config.json: what the reader accepts is an architecture that can be written as a model's file.
#include "models/architecture/architecture.hpp"
#include "sim/config/describe.hpp"
#include "sim/config/document.hpp"
#include "tests/fuzz/describe_harness.hpp"

using namespace moesim;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::may_refuse([&] {
    const Architecture architecture =
        read_huggingface_config(Document::parse("config.json", fuzz::text_of(data, size)));
    const std::string encoded = Codec<Architecture>::encode(architecture).dump();
    fuzz::decode_and_back<Architecture>(encoded);
    const Model model(architecture, {"config.json", {}});
    fuzz::require(total_parameters(model).total() >= 0.0, "a number of parameters");
  });
  return 0;
}
