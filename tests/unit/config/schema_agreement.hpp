#pragma once

#include <catch2/catch.hpp>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>
#include <vector>

#include "sim/config/codec.hpp"
#include "sim/config/decode.hpp"
#include "sim/core/error.hpp"
#include "sim/core/random.hpp"

/// Holds a JSON Schema against the decoder it stands for: both must accept and refuse the same documents. Valid
/// examples are damaged at random, thousands of times, and both are asked.
///
///   check_agreement<Nic>("nic", examples_of(nic_catalogue()));
namespace moesim {

/// A JSON Schema as an independent implementation (valijson) understands it.
class SchemaJudge {
 public:
  explicit SchemaJudge(const Json& schema) {
    const nlohmann::json plain = nlohmann::json::parse(schema.dump());
    const valijson::adapters::NlohmannJsonAdapter adapter(plain);
    valijson::SchemaParser(valijson::SchemaParser::kDraft7).populateSchema(adapter, schema_);
  }

  [[nodiscard]] bool accepts(const Json& document) {
    const nlohmann::json plain = nlohmann::json::parse(document.dump());
    return validator_.validate(schema_, valijson::adapters::NlohmannJsonAdapter(plain), nullptr);
  }

 private:
  valijson::Schema schema_;
  valijson::Validator validator_;  // remembers the patterns that it has compiled, which take most of the time
};

/// Damages documents. Values come from a list of likely slips and from the other places of the examples themselves.
class Mutator {
 public:
  Mutator(std::vector<Json> examples, RandomStream random) : examples_(std::move(examples)), random_(random) {
    for (Json& example : examples_) {
      places(example, all_places_);
    }
  }

  /// An example with one to three slips.
  Json next() {
    Json document = examples_[random_.below(examples_.size())];
    for (std::uint64_t slips = 1 + random_.below(3); slips > 0; --slips) {
      std::vector<Json*> here;
      places(document, here);
      slip(*here[random_.below(here.size())]);
    }
    return document;
  }

 private:
  static void places(Json& json, std::vector<Json*>& out) {
    out.push_back(&json);
    if (json.is_structured()) {
      for (Json& child : json) {
        places(child, out);
      }
    }
  }

  Json stray_value() {
    // No 3.0: draft 7 calls it an integer, the decoder does not. No integers near 2^63: valijson compares as double.
    static const Json kValues = Json::parse(R"([null, true, false, 0, 1, -1, 2, 7, 100, 4096, 65537, 1000000,
        2147483648, -2147483649, 1000000000000000000, 0.5, 2.5, -0.5, 1e300, "", "x", "5 GB", "5 GB/s", "5 s", "-5 s",
        "0 GB/s", "0.00 s", "5", "1e-9 TFLOP/s", "400 Gb/s", "400 Gbps", [], {}, [1], ["x"], {"a": 1}, {"a": "x"}])");
    return kValues[random_.below(kValues.size())];
  }
  const Json& borrowed_value() { return *all_places_[random_.below(all_places_.size())]; }

  void slip(Json& place) {
    switch (random_.below(place.is_primitive() ? 4 : 8)) {
      case 0:
        place = stray_value();
        return;
      case 1:
        place = Json(borrowed_value());
        return;
      default:
        if (place.is_object()) {
          slip_object(place);
        } else if (place.is_array()) {
          slip_array(place);
        } else if (place.is_string()) {
          slip_text(place);
        } else if (place.is_number()) {
          slip_number(place);
        } else {
          place = place.is_boolean() ? Json(!place.get<bool>()) : stray_value();
        }
    }
  }

  void slip_object(Json& object) {
    std::vector<std::string> keys;
    for (const auto& [key, unused] : object.items()) {
      keys.push_back(key);
    }
    if (keys.empty() || random_.below(4) == 0) {
      object["unknown"] = stray_value();
      return;
    }
    const std::string key = keys[random_.below(keys.size())];
    const Json value = object[key];
    switch (random_.below(4)) {
      case 0:
        object.erase(key);
        return;
      case 1:  // misspelt
        object.erase(key);
        object[key + "s"] = value;
        return;
      case 2:  // at another's place
        object[keys[random_.below(keys.size())]] = value;
        return;
      default:
        object[key] = stray_value();
    }
  }

  void slip_array(Json& array) {
    if (array.empty() || random_.below(3) == 0) {
      array.push_back(random_.below(2) == 0 ? stray_value() : Json(borrowed_value()));
    } else if (random_.below(2) == 0) {
      array.erase(random_.below(array.size()));
    } else {
      array.push_back(Json(array[random_.below(array.size())]));
    }
  }

  void slip_text(Json& text) {
    std::string value = text.get<std::string>();
    switch (random_.below(7)) {
      case 0:
        value += random_.below(2) == 0 ? " " : "x";
        break;
      case 1:
        value.insert(0, random_.below(2) == 0 ? "-" : " ");
        break;
      case 2:
        value.clear();
        break;
      case 3:
        value = value.substr(0, value.size() / 2);
        break;
      case 4:
        if (const auto gap = value.find(' ');
            gap != std::string::npos) {  // the number without its unit, or glued to it
          value.erase(gap, random_.below(2) == 0 ? std::string::npos : 1);
        }
        break;
      case 5:
        if (const auto gap = value.find(' '); gap != std::string::npos) {
          constexpr std::string_view kUnits[] = {"GB", "Gb/s", "GiB/s", "TB/s", "us", "FLOP/s", "PFLOP/s", "USD", "kb"};
          value = value.substr(0, gap + 1) + std::string(kUnits[random_.below(std::size(kUnits))]);
        }
        break;
      default:
        for (char& c : value) {
          c = c >= '0' && c <= '9' ? '0' : c;
        }
    }
    text = value;
  }

  void slip_number(Json& number) {
    switch (random_.below(5)) {
      case 0:
        number = number.is_number_float() ? Json(-number.get<double>()) : Json(-number.get<std::int64_t>());
        return;
      case 1:
        number = 0;
        return;
      case 2:
        number = number.get<double>() / 2.0 + 0.25;  // never whole
        return;
      case 3:
        number = number.get<std::int64_t>() / 2 + 1;
        return;
      default:
        number = 1000000000000000;
    }
  }

  std::vector<Json> examples_;
  std::vector<Json*> all_places_;
  RandomStream random_;
};

/// The agreement itself, over `mutations` damaged documents; both outcomes have to occur, each in one of fifty.
template <class T>
void check_agreement(std::string_view name, const std::vector<Json>& examples, int mutations = 4000) {
  SchemaJudge judge(document_schema<T>(name));
  const auto fault = [](const Json& json) -> std::string {
    try {
      static_cast<void>(decode_document<T>(Document::parse("d", json.dump())));
      return {};
    } catch (const ConfigError& error) {
      return error.what();
    }
  };
  REQUIRE_FALSE(examples.empty());
  for (const Json& example : examples) {
    CAPTURE(name, example.dump());
    REQUIRE(fault(example).empty());
    REQUIRE(judge.accepts(example));
  }
  Mutator mutator(examples, RandomStream(1, name));
  int accepted = 0;
  for (int i = 0; i < mutations; ++i) {
    const Json document = mutator.next();
    const std::string why = fault(document);
    if (judge.accepts(document) != why.empty()) {
      FAIL(name << ": the schema " << (why.empty() ? "refuses what the decoder accepts" : "accepts what is no good: ")
                << why << '\n'
                << document.dump());
    }
    accepted += why.empty() ? 1 : 0;
  }
  CAPTURE(name);
  CHECK(accepted > mutations / 50);
  CHECK(accepted < mutations - mutations / 50);
}

}  // namespace moesim
