#include <catch2/catch.hpp>

#include "sim/config/document.hpp"
#include "sim/core/error.hpp"

using namespace moesim;

namespace {

/// The document after the assignments, or the error's text.
std::string after(std::string_view text, std::initializer_list<std::string_view> assignments) {
  Document document = Document::parse("d", text);
  try {
    for (const auto assignment : assignments) {
      document.set(assignment);
    }
  } catch (const ConfigError& error) {
    return error.what();
  }
  return document.root().dump();
}

}  // namespace

TEST_CASE("set: replaces what is there and adds what is not") {
  CHECK(after(R"({"a": 1, "b": 2})", {"/a=3"}) == R"({"a":3,"b":2})");
  CHECK(after(R"({"a": 1})", {"/b=2"}) == R"({"a":1,"b":2})");
  CHECK(after("{}", {"/a/b/c=1"}) == R"({"a":{"b":{"c":1}}})");
  CHECK(after("null", {"/a=1"}) == R"({"a":1})");
  CHECK(after(R"({"a": null})", {"/a/b=1"}) == R"({"a":{"b":1}})");
  CHECK(after(R"({"model": "name"})", {"/model/huggingface=x"}) == R"({"model":{"huggingface":"x"}})");
  CHECK(after("{}", {"/=1"}) == R"({"":1})");  // RFC 6901: the key is the empty text
  CHECK(after("{}", {"/a=1", "/a=2"}) == R"({"a":2})");
}

TEST_CASE("set: takes JSON, or else the text itself") {
  CHECK(after("{}", {"/a=true"}) == R"({"a":true})");
  CHECK(after("{}", {"/a=null"}) == R"({"a":null})");
  CHECK(after("{}", {"/a=-1.5"}) == R"({"a":-1.5})");
  CHECK(after("{}", {R"(/a={"b": [1, 2]})"}) == R"({"a":{"b":[1,2]}})");
  CHECK(after("{}", {R"(/a="7")"}) == R"({"a":"7"})");
  CHECK(after("{}", {"/a=450 GB/s"}) == R"({"a":"450 GB/s"})");
  CHECK(after("{}", {"/a=x=y"}) == R"({"a":"x=y"})");  // the first = counts
  CHECK(after("{}", {"/a="}) == R"({"a":""})");
  CHECK(after("{}", {"/a=1e999"}) == R"({"a":"1e999"})");
  CHECK(after("{}", {"/a=café"}) == R"({"a":"café"})");
}

TEST_CASE("set: goes into arrays by index, and appends") {
  CHECK(after("[1, 2]", {"/0=9"}) == "[9,2]");
  CHECK(after("[1, 2]", {"/2=9"}) == "[1,2,9]");
  CHECK(after("[1, 2]", {"/-=9", "/-=8"}) == "[1,2,9,8]");
  CHECK(after("[{}]", {"/0/a=1", "/-/a=2"}) == R"([{"a":1},{"a":2}])");
  CHECK(after(R"({"a": [1]})", {"/a/2=9"}) ==
        "--set /a/2=9: expected an index up to 1 in the array at \"/a\", found \"2\"");
  CHECK(after("[1]", {"/x=9"}) == "--set /x=9: expected an index up to 1 in the array at \"\", found \"x\"");
  CHECK(after("[1]", {"/00=9"}) == "--set /00=9: expected an index up to 1 in the array at \"\", found \"00\"");
  CHECK(after("[1]", {"/=9"}) == "--set /=9: expected an index up to 1 in the array at \"\", found \"\"");
  CHECK(after("[1]", {"/9999999=9"}) ==
        "--set /9999999=9: expected an index up to 1 in the array at \"\", found \"9999999\"");
}

TEST_CASE("set: unescapes ~0 and ~1 in the pointer") {
  CHECK(after("{}", {"/a~1b=1"}) == R"({"a/b":1})");
  CHECK(after("{}", {"/a~0b=1"}) == R"({"a~b":1})");
  CHECK(after("{}", {"/~01=1"}) == R"({"~1":1})");  // not unescaped twice
  CHECK(after("{}", {"/~2=1"}) == "--set /~2=1: expected ~0 or ~1 after ~ in the JSON pointer");
  CHECK(after("{}", {"/a~=1"}) == "--set /a~=1: expected ~0 or ~1 after ~ in the JSON pointer");
}

TEST_CASE("set: refuses what is no assignment") {
  CHECK(after("{}", {"a=1"}) == "--set a=1: expected /json/pointer=value");
  CHECK(after("{}", {"/a"}) == "--set /a: expected /json/pointer=value");
  CHECK(after("{}", {""}) == "--set : expected /json/pointer=value");
  CHECK(after("{}", {"=1"}) == "--set =1: expected /json/pointer=value");
  CHECK(after("{}", {"/a=\xff"}) == "--set: expected text in UTF-8");
  CHECK(after("{}", {"/\xff=1"}) == "--set: expected text in UTF-8");
}

TEST_CASE("set: does not take faulty JSON for a text") {
  using Catch::Matchers::StartsWith;
  CHECK_THAT(after("{}", {"/a={\"b\": 1"}), StartsWith("--set /a={\"b\": 1: expected JSON, found a fault at line 1"));
  CHECK_THAT(after("{}", {"/a=[1,]"}), StartsWith("--set /a=[1,]: expected JSON, found a fault at line 1, column 4"));
  CHECK_THAT(after("{}", {"/a=\"b"}), StartsWith("--set /a=\"b: expected JSON"));
  CHECK(after("{}", {R"(/a={"b": 1, "b": 2})"}) ==
        "--set /a={\"b\": 1, \"b\": 2}: expected each key once, found it twice");
}

TEST_CASE("set: nests at most 64 levels deep") {
  std::string deep;
  for (int i = 0; i < 64; ++i) {
    deep += "/a";
  }
  const std::string good = deep + "=1";
  CHECK_THAT(after("{}", {good}), Catch::Matchers::StartsWith("{\"a\":{\"a\":"));
  const std::string bad = deep + "/a=1";
  CHECK(after("{}", {bad}) == "--set " + bad + ": expected at most 64 levels of nesting, found more");
}
