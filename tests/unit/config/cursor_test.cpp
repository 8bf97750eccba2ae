#include "sim/config/cursor.hpp"

#include <catch2/catch.hpp>

#include "sim/config/document.hpp"
#include "sim/core/error.hpp"

using namespace moesim;

namespace {
std::string found(std::string_view text) {
  const Document document = Document::parse("d", text);
  std::vector<Diagnostic> faults;
  return Cursor(document, faults).found();
}
}  // namespace

TEST_CASE("what was found is told in the words of JSON") {
  CHECK(found("true") == "true");
  CHECK(found("null") == "null");
  CHECK(found("3.50") == "the number 3.5");
  CHECK(found("-7") == "the number -7");
  CHECK(found("\"text\"") == "\"text\"");
  CHECK(found("\"\"") == "\"\"");
  CHECK(found("[]") == "an array of 0");
  CHECK(found("[1, 2]") == "an array of 2");
  CHECK(found("{}") == "an empty object");
  CHECK(found("{\"a\": 1}") == "an object");
}

TEST_CASE("long and strange texts are shown short and printable") {
  CHECK(found('"' + std::string(58, 'x') + '"') == '"' + std::string(58, 'x') + '"');  // 60 with its quotes
  CHECK(found('"' + std::string(1000, 'x') + '"') == '"' + std::string(59, 'x') + "…\"");
  CHECK(found("\"a\\nb\\u001b\"") == "\"a\\nb\\u001b\"");
  CHECK(found("\"é\"") == "\"\\u00e9\"");
}

TEST_CASE("a cursor knows its place as a JSON pointer") {
  const Document document = Document::parse("d", R"({"a/b": [10, {"~": 20}]})");
  std::vector<Diagnostic> faults;
  const Cursor root(document, faults);
  CHECK(root.place().text() == "d");
  const Cursor leaf = root.member("a/b").element(1).member("~");
  CHECK(leaf.place().text() == "d#/a~1b/1/~0");
  CHECK(leaf.value() == 20);
  CHECK(&leaf.document() == &document);
}

TEST_CASE("faults are collected in the order in which they are found") {
  const Document document = Document::parse("d", "[1, true]");
  std::vector<Diagnostic> faults;
  const Cursor root(document, faults);
  CHECK_FALSE(root.element(1).expected("a number"));
  CHECK_FALSE(root.fail("something else"));
  REQUIRE(faults.size() == 2);
  CHECK(faults[0].text() == "d#/1: expected a number, found true");
  CHECK(faults[1].text() == "d: something else");
}
