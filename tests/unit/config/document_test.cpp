#include "sim/config/document.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "sim/core/error.hpp"
#include "tests/scratch.hpp"

using namespace moesim;

namespace {

std::string fault(std::string_view text) {
  try {
    static_cast<void>(Document::parse("d", text));
    return {};
  } catch (const ConfigError& error) {
    return error.what();
  }
}

std::string nested(std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

}  // namespace

TEST_CASE("plain JSON is read as it stands") {
  const Document document = Document::parse("d", R"({"b": [1, -2, 2.5, true, null, "x\n\u00e9"], "a": {}})");
  CHECK(document.name() == "d");
  CHECK(document.folder().empty());
  CHECK(document.root().dump() == "{\"b\":[1,-2,2.5,true,null,\"x\\né\"],\"a\":{}}");  // keys in their order
  CHECK(Document::parse("d", " 7 ").root() == 7);
}

TEST_CASE("a key that stands twice is an error at its place") {
  CHECK(fault(R"({"a": 1, "a": 1})") == "d#/a: expected each key once, found it twice");
  CHECK(fault(R"({"x": [0, {"a": {}, "b~/": 1, "a": 2, "b~/": 3}]})") ==
        "d#/x/1/a: expected each key once, found it twice\nd#/x/1/b~0~1: expected each key once, found it twice");
  CHECK(fault(R"({"a": {"a": 1}, "b": {"a": 1}})").empty());  // once in each object
  CHECK(fault("{\"a\": 1, \"\\u0061\": 2}") == "d#/a: expected each key once, found it twice");
  CHECK(fault(R"([[{"k": [{}, {"k": 1, "k": 2}]}]])") == "d#/0/0/k/1/k: expected each key once, found it twice");
}

TEST_CASE("what is no JSON is an error with line and column") {
  const auto at = [](int line, int column) {
    return "d: expected JSON, found a fault at line " + std::to_string(line) + ", column " + std::to_string(column) +
           ": ";
  };
  using Catch::Matchers::StartsWith;
  CHECK(fault("") == at(1, 1) + "the text is empty");
  CHECK_THAT(fault(" \n\t"), Catch::Matchers::EndsWith("the text is empty"));
  CHECK_THAT(fault("{\n  \"a\": nul\n}"), StartsWith(at(2, 11)));
  CHECK_THAT(fault("{\"a\": NaN}"), StartsWith(at(1, 7)));
  CHECK_THAT(fault("Infinity"), StartsWith(at(1, 1)));
  CHECK_THAT(fault("{\"a\": 1} x"), StartsWith(at(1, 10)));
  CHECK_THAT(fault("{} {}"), StartsWith(at(1, 4)));
  CHECK_THAT(fault("[1, 2,]"), StartsWith(at(1, 7)));
  CHECK_THAT(fault("// comment\n{}"), StartsWith(at(1, 1)));
  CHECK_THAT(fault("{/* comment */}"), StartsWith(at(1, 2)));
  CHECK_THAT(fault("{'a': 1}"), StartsWith(at(1, 2)));
  CHECK_THAT(fault("{\"a\": 01}"), StartsWith(at(1, 8)));
  CHECK_THAT(fault("{\"a\": +1}"), StartsWith(at(1, 7)));
  CHECK_THAT(fault("{\"a\""), StartsWith("d: expected JSON, found a fault at line 1, column "));
}

TEST_CASE("texts in another encoding are errors") {
  CHECK_THAT(fault("\"\xff\""), Catch::Matchers::Contains("invalid string: ill-formed UTF-8 byte"));
  CHECK_THAT(fault("\"\xc0\xaf\""), Catch::Matchers::Contains("ill-formed UTF-8"));      // overlong
  CHECK_THAT(fault("\"\xed\xa0\x80\""), Catch::Matchers::Contains("ill-formed UTF-8"));  // surrogate
  CHECK_THAT(fault("\"\\ud800\""), Catch::Matchers::Contains("surrogate"));
  CHECK_THAT(fault("\"a\nb\""), Catch::Matchers::Contains("control character"));
  CHECK_FALSE(fault(std::string_view("\0{}", 3)).empty());
  CHECK_FALSE(fault(std::string_view("{\0}", 3)).empty());
  CHECK_FALSE(fault("\xff\xfe{\0}").empty());  // UTF-16
  for (const char c : fault("\"\x1b[31m\xff\"")) {
    CHECK((c >= 0x20 && c < 0x7f));  // the message shows no bytes that a terminal would obey
  }
}

TEST_CASE("a UTF-8 byte order mark is skipped at the start, and only there") {
  CHECK(Document::parse("d", "\xef\xbb\xbf{\"a\": 1}").root().dump() == R"({"a":1})");
  CHECK_FALSE(fault(" \xef\xbb\xbf{}").empty());
  CHECK_FALSE(fault("\xef\xbb{}").empty());
}

TEST_CASE("numbers beyond double are errors, those within are not") {
  CHECK_THAT(fault("1e999"), Catch::Matchers::Contains("number overflow parsing '1e999'"));
  CHECK_THAT(fault("-1e309"), Catch::Matchers::Contains("number overflow"));
  CHECK(Document::parse("d", "1e308").root() == 1e308);
  CHECK(Document::parse("d", "1e-999").root() == 0.0);
  CHECK(Document::parse("d", "9223372036854775807").root() == INT64_MAX);
  CHECK(Document::parse("d", "18446744073709551615").root() == UINT64_MAX);
  CHECK(Document::parse("d", "18446744073709551616").root() == 0x1p64);
}

TEST_CASE("nesting is allowed 64 levels deep") {
  CHECK(fault(nested(64)).empty());
  CHECK(fault(nested(65)) == "d: expected at most 64 levels of nesting, found more");
  CHECK(fault(nested(1000000)) == "d: expected at most 64 levels of nesting, found more");
}

TEST_CASE("a file knows its folder, and a file that is none is an error with its name") {
  const std::filesystem::path path = moesim::test::scratch_path("moesim_document_test.json");
  std::ofstream(path) << "{\"a\": 1}";
  const Document document = Document::read(path);
  CHECK(document.name() == path.string());
  CHECK(document.folder() == path.parent_path());
  std::ofstream(path) << "{";
  CHECK_THROWS_WITH(Document::read(path), Catch::Matchers::StartsWith(path.string() + ": expected JSON"));
  std::filesystem::remove(path);
  CHECK_THROWS_WITH(Document::read(path), path.string() + ": cannot open the file: No such file or directory");
}
