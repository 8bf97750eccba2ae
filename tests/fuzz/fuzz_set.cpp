
#include <algorithm>
// Document::set: one assignment a line, applied to a document with an array and an object. What results can be written
// and read back, and lies within twice the depth a document may have (pointer and value 64 each).
#include "sim/config/document.hpp"
#include "tests/fuzz/harness.hpp"

using namespace moesim;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Document document = Document::parse("input", R"({"a": [1, {"b": "x"}], "c": {"d": null}})");
  std::string_view rest = fuzz::text_of(data, size);
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    fuzz::may_refuse([&] { document.set(line); });
  }
  const std::string text = document.root().dump();
  fuzz::require(Json::parse(text).dump() == text, "the same document the second time");
  return 0;
}
