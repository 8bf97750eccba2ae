#include "sim/config/catalogue.hpp"

#include <array>
#include <catch2/catch.hpp>

#include "sim/config/document.hpp"

using namespace moesim;

namespace {
constexpr std::array<EmbeddedFile, 3> kFiles{{{"mixtral", "{\"a\": 1}"}, {"deepseek", "{}"}, {"broken", "{"}}};
}

TEST_CASE("a catalogue finds its entries by name and lists them in order") {
  const Catalogue catalogue("model", kFiles);
  CHECK(catalogue.kind() == "model");
  CHECK(catalogue.names() == std::vector<std::string_view>{"broken", "deepseek", "mixtral"});
  CHECK(catalogue.contains("mixtral"));
  CHECK_FALSE(catalogue.contains("Mixtral"));
  const Document document = catalogue.find("mixtral", {});
  CHECK(document.name() == "model mixtral");
  CHECK(document.root().dump() == R"({"a":1})");
}

TEST_CASE("an unknown name is an error at the place that gave it") {
  const Catalogue catalogue("model", kFiles);
  CHECK_THROWS_WITH(catalogue.find("mixtrl", {"s.json", "/model"}),
                    "s.json#/model: expected the name of a model, found \"mixtrl\"; did you mean \"mixtral\"?");
  CHECK_THROWS_WITH(catalogue.find("x", {"s.json", "/model"}),
                    "s.json#/model: expected the name of a model, found \"x\"; known: broken, deepseek, mixtral");
  CHECK_THROWS_WITH(catalogue.find("broken", {}), Catch::Matchers::StartsWith("model broken: expected JSON"));
}
