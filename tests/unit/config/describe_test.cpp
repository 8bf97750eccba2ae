#include "sim/config/describe.hpp"

#include <algorithm>
#include <catch2/catch.hpp>

#include "sim/config/decode.hpp"
#include "sim/config/document.hpp"
#include "sim/core/quantity.hpp"
#include "tests/unit/config/faults.hpp"
#include "tests/unit/config/sample.hpp"

using namespace moesim;
using sample::Sample;

namespace {
/// kLeast with one assignment: the faults that result.
std::string with(std::string_view assignment) {
  Document document = Document::parse("d", sample::kLeast);
  document.set(assignment);
  return faults_of<Sample>(document.root().dump());
}
}  // namespace

TEST_CASE("a full document fills every field") {
  const Sample s = decode_document<Sample>(Document::parse("d", sample::kFull));
  CHECK(s.name == "full");
  CHECK(s.bandwidth == bytes_per_second(450e9));
  CHECK(s.latency == seconds(1.5e-6));
  CHECK_FALSE(s.enabled);
  CHECK(s.count == 12);
  CHECK(s.small == 200);
  CHECK(s.large == -9000000000);
  CHECK(s.unsigned_count == 4000000000U);
  CHECK(s.ratio == 0.25);
  CHECK(s.any == -1e300);
  CHECK(s.note.empty());
  CHECK(s.colour == sample::Colour::kBlue);
  CHECK(s.maybe == -2);
  CHECK(s.limit == bytes(80 * 0x1p30));
  CHECK(s.numbers == std::vector<int>{0, 5, 7});
  CHECK(s.sizes == std::vector<Bytes>{bytes(1000), bytes(0x1p21)});
  CHECK(s.weights.at("b/c~d") == 10.0);
  CHECK(s.rates.at(sample::Colour::kRed) == flops_per_second(989e12));
  CHECK(std::get<sample::Circle>(s.shape).radius == 1.5);
  CHECK(std::get<sample::Square>(s.named).value == 4);
  CHECK(s.file.written == "some/file.json");
  CHECK(s.inner.count == 9);
  CHECK(s.inner.flag == true);
  REQUIRE(s.inners.size() == 2);
  CHECK_FALSE(s.inners[0].flag.has_value());
}

TEST_CASE("what is absent keeps the member's own default") {
  const Sample s = decode_document<Sample>(Document::parse("d", sample::kLeast));
  CHECK(s.latency == seconds(2e-6));
  CHECK(s.count == 3);
  CHECK(s.numbers == std::vector<int>{1});
  CHECK(s.colour == sample::Colour::kGreen);
  CHECK_FALSE(s.maybe.has_value());
}

TEST_CASE("encoding spells out the defaults, and is read back to the same encoding") {
  for (const std::string_view text : {sample::kFull, sample::kLeast}) {
    const Json encoded = Codec<Sample>::encode(decode_document<Sample>(Document::parse("d", text)));
    CHECK(encoded["schema"] == "moesim.sample/1");
    const Sample again = decode_document<Sample>(Document::parse("d", encoded.dump()));
    CHECK(Codec<Sample>::encode(again).dump() == encoded.dump());
  }
  const Json least = Codec<Sample>::encode(decode_document<Sample>(Document::parse("d", sample::kLeast)));
  CHECK(least["latency"] == "2 us");
  CHECK(least["colour"] == "green");
  CHECK_FALSE(least.contains("maybe"));
  // The full document, written out with nothing but its own values, says the same.
  const Json full = Codec<Sample>::encode(decode_document<Sample>(Document::parse("d", sample::kFull)));
  CHECK(full["weights"] == Document::parse("d", sample::kFull).root()["weights"]);
  CHECK(full["shape"] == Document::parse("d", sample::kFull).root()["shape"]);
  CHECK(full.size() == Document::parse("d", sample::kFull).root().size());
}

TEST_CASE("missing, unknown and misspelt keys are told") {
  CHECK(faults_of<Sample>("[]") == "d: expected an object, found an array of 0");
  CHECK(faults_of<Sample>("{}") ==
        "d: expected the key \"schema\": \"moesim.sample/1\", found none\n"
        "d: expected the key \"name\", found none\n"
        "d: expected the key \"bandwidth\", found none\n"
        "d: expected the key \"file\", found none\n"
        "d: expected the key \"inner\", found none");
  CHECK(with("/bandwith=\"1 B/s\"") == "d: expected a known key, found \"bandwith\"; did you mean \"bandwidth\"?");
  CHECK(with("/inner/zzz=1") == "d#/inner: expected a known key, found \"zzz\"; known: count, flag");
  CHECK(with("/schema=moesim.sample/2") == "d#/schema: expected \"moesim.sample/1\", found \"moesim.sample/2\"");
  CHECK(with("/schema=1") == "d#/schema: expected \"moesim.sample/1\", found the number 1");
}

TEST_CASE("all faults of a document are told at once, each at its place") {
  CHECK(faults_of<Sample>(R"({"schema": "moesim.sample/1", "name": "", "bandwidth": 5, "count": 101,
                              "inners": [{"count": -1}, {}, 7], "file": "f", "inner": {"count": 0, "x": 0}})") ==
        "d#/name: expected a non-empty text, found \"\"\n"
        "d#/bandwidth: expected a bandwidth as a string with its unit, such as \"450 GB/s\"; found the bare number 5\n"
        "d#/count: expected a whole number, 1 to 100, found the number 101\n"
        "d#/inner: expected a known key, found \"x\"; known: count, flag\n"
        "d#/inners/0/count: expected a whole number, at least 0, found the number -1\n"
        "d#/inners/1: expected the key \"count\", found none\n"
        "d#/inners/2: expected an object, found the number 7");
}

TEST_CASE("the schema shows types, limits, documentation and defaults") {
  const Json schema = document_schema<Sample>("Sample");
  CHECK(schema["$schema"] == "http://json-schema.org/draft-07/schema#");
  CHECK(schema["title"] == "Sample");
  CHECK(schema["description"] == "One of each");
  CHECK(schema["type"] == "object");
  CHECK(schema["additionalProperties"] == false);
  CHECK(schema["required"] == Json({"schema", "name", "bandwidth", "file", "inner"}));
  const Json& properties = schema["properties"];
  CHECK(properties["schema"] == Json({{"const", "moesim.sample/1"}}));
  CHECK(properties["count"] ==
        Json({{"type", "integer"}, {"minimum", 1.0}, {"maximum", 100.0}, {"description", "How many"}, {"default", 3}}));
  CHECK(properties["small"]["minimum"] == 0);  // the type's limit, not the wider one of the rule
  CHECK(properties["small"]["maximum"] == 255);
  CHECK(properties["unsigned_count"]["exclusiveMinimum"] == 0);
  CHECK(properties["latency"]["default"] == "2 us");
  CHECK(properties["latency"]["description"] == "Wire excluded (a time such as \"2.5 us\")");
  CHECK(properties["colour"]["enum"] == Json({"red", "green", "blue"}));
  CHECK(properties["colour"]["default"] == "green");
  CHECK_FALSE(properties["maybe"].contains("default"));
  CHECK_FALSE(properties["name"].contains("default"));
  CHECK(properties["name"]["minLength"] == 1);
  CHECK(properties["numbers"]["minItems"] == 1);
  CHECK(properties["shape"]["default"] == Json({{"square", 1}}));
  CHECK(properties["shape"]["oneOf"].size() == 2);
  CHECK(properties["inner"]["required"] == Json::array({"count"}));
}

TEST_CASE("every optional field that is not std::optional shows its default in the schema") {
  const Json schema = document_schema<Sample>("Sample");
  const Json defaults = Codec<Sample>::encode(Sample{});
  for (const auto& [key, property] : schema["properties"].items()) {
    const auto& required = schema["required"];
    if (std::find(required.begin(), required.end(), key) != required.end() || !defaults.contains(key)) {
      continue;
    }
    CAPTURE(key);
    CHECK(property["default"] == defaults[key]);
  }
}
