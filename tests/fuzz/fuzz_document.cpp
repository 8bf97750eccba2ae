// Document::parse: what is accepted is written and read back to the same text.
#include "sim/config/document.hpp"
#include "tests/fuzz/harness.hpp"

using namespace moesim;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::may_refuse([&] {
    const std::string text = Document::parse("input", fuzz::text_of(data, size)).root().dump();
    fuzz::require(Document::parse("again", text).root().dump() == text, "the same document the second time");
  });
  return 0;
}
