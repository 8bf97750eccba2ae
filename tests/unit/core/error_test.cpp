#include "sim/core/error.hpp"

#include <catch2/catch.hpp>
#include <type_traits>

using namespace moesim;

TEST_CASE("a place is a file, or a file and a JSON pointer") {
  CHECK(Place{"a.json", {}}.text() == "a.json");
  CHECK(Place{"a.json", "/x/0"}.text() == "a.json#/x/0");
}

TEST_CASE("a configuration error tells all faults, one a line") {
  const ConfigError one({"a.json", "/x"}, "expected a number, found true");
  CHECK(std::string(one.what()) == "a.json#/x: expected a number, found true");
  REQUIRE(one.diagnostics().size() == 1);
  CHECK(one.diagnostics()[0].place.pointer == "/x");

  const ConfigError two({{{"a.json", "/x"}, "first"}, {{"b.json", {}}, "second"}});
  CHECK(std::string(two.what()) == "a.json#/x: first\nb.json: second");
  CHECK(two.diagnostics().size() == 2);
}

TEST_CASE("ensure throws with the caller's place, and only when the condition fails") {
  CHECK_NOTHROW(ensure(true, "never seen"));
  int line = 0;
  try {
    line = __LINE__ + 1;
    ensure(false, "links lead somewhere");
    FAIL("ensure(false) came back");
  } catch (const InternalError& error) {
    const std::string expected = "error_test.cpp:" + std::to_string(line) + ": links lead somewhere";
    CHECK_THAT(error.what(), Catch::Matchers::EndsWith(expected));
  }
}

TEST_CASE("the user's faults and ours are not caught as each other") {
  // Exit codes 2 and 3 hang on this: a fault of ours is no runtime_error.
  CHECK(std::is_base_of_v<std::runtime_error, ConfigError>);
  CHECK(std::is_base_of_v<std::runtime_error, ModelError>);
  CHECK_FALSE(std::is_base_of_v<std::runtime_error, InternalError>);
  CHECK_FALSE(std::is_base_of_v<ConfigError, ModelError>);
}
