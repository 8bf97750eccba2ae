#include "sim/core/suggest.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <span>
#include <vector>

using namespace moesim;

namespace {
constexpr std::array<std::string_view, 4> kNames{"deepseek-v3", "mixtral-8x7b", "qwen3-30b-a3b", "h200"};
}

TEST_CASE("the nearest name is offered when it is near") {
  CHECK(did_you_mean("deepseek-v4", kNames) == "; did you mean \"deepseek-v3\"?");  // one substitution
  CHECK(did_you_mean("depseek-v3", kNames) == "; did you mean \"deepseek-v3\"?");   // one missing
  CHECK(did_you_mean("deepsekk-v33", kNames) == "; did you mean \"deepseek-v3\"?");
  CHECK(did_you_mean("h020", kNames) == "; did you mean \"h200\"?");  // neighbours swapped cost one, not two
  CHECK(did_you_mean("MIXTRAL-8X7B", kNames) == "; did you mean \"mixtral-8x7b\"?");  // case costs nothing
}

TEST_CASE("nothing is offered beyond a third of the length") {
  // Six letters allow two edits: "abcdxy" is two from "abcdef", "abcxyz" three.
  const std::array<std::string_view, 1> known{"abcdef"};
  CHECK(did_you_mean("abcdxy", known) == "; did you mean \"abcdef\"?");
  CHECK(did_you_mean("abcxyz", known).empty());
  CHECK(did_you_mean("", kNames).empty());
  CHECK(did_you_mean("x", {}).empty());
  const std::array<std::string_view, 1> letter{"a"};
  CHECK(did_you_mean("b", letter).empty());  // nothing in common
  CHECK(did_you_mean(std::string(65, 'a'), std::array<std::string_view, 1>{"aaaa"}).empty());
}

TEST_CASE("ties go to the first") {
  const std::array<std::string_view, 2> known{"cat", "bat"};
  CHECK(did_you_mean("rat", known) == "; did you mean \"cat\"?");
}

TEST_CASE("where nothing is near, the known names are listed, up to twelve") {
  CHECK(suggestion("deepseek-v2", kNames) == "; did you mean \"deepseek-v3\"?");
  CHECK(suggestion("zzz", kNames) == "; known: deepseek-v3, mixtral-8x7b, qwen3-30b-a3b, h200");
  CHECK(suggestion("zzz", {}).empty());
  std::vector<std::string> names;
  for (char c = 'a'; c <= 'm'; ++c) {  // thirteen
    names.push_back("name-" + std::string(1, c));
  }
  const std::vector<std::string_view> thirteen(names.begin(), names.end());
  CHECK(suggestion("zzz", thirteen) ==
        "; known: name-a, name-b, name-c, name-d, name-e, name-f, name-g, name-h, name-i, name-j, name-k, name-l and 1 "
        "more");
  CHECK_THAT(suggestion("zzz", std::span(thirteen).first(12)), Catch::Matchers::EndsWith("name-k, name-l"));
}
