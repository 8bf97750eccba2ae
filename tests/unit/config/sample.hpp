#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "sim/config/codec.hpp"
#include "sim/config/decode.hpp"
#include "sim/core/quantity.hpp"

/// A struct with a field of every kind that a configuration can have.
namespace moesim::sample {

enum class Colour { kRed, kGreen, kBlue };

struct Circle {
  static constexpr std::string_view kTag = "circle";
  double radius = 0.0;
  template <class F>
  static void describe(F& f) {
    f.required("radius", &Circle::radius, "From centre to rim", Rules::above_zero());
  }
};
struct Square {
  static constexpr std::string_view kTag = "square";
  static constexpr bool kWrapper = true;
  int value = 0;
};
struct Named {
  static constexpr std::string_view kTag = {};
  static constexpr bool kWrapper = true;
  std::string value;
};
using Shape = std::variant<Circle, Square>;
using NamedShape = std::variant<Named, Circle, Square>;

struct Inner {
  std::int64_t count = 0;
  std::optional<bool> flag;
  template <class F>
  static void describe(F& f) {
    f.required("count", &Inner::count, "How many", Rules::at_least(0));
    f.optional("flag", &Inner::flag, "Yes or no");
  }
};

struct Sample {
  std::string name;
  Bandwidth bandwidth;
  Duration latency = seconds(2e-6);
  bool enabled = true;
  int count = 3;
  std::uint8_t small = 0;
  std::int64_t large = 0;
  std::uint32_t unsigned_count = 7;
  double ratio = 0.5;
  double any = 0.0;
  std::string note = "none";
  Colour colour = Colour::kGreen;
  std::optional<int> maybe;
  std::optional<Bytes> limit;
  std::vector<int> numbers = {1};
  std::vector<Bytes> sizes;
  std::map<std::string, double> weights;
  std::map<Colour, FlopRate> rates;
  Shape shape = Square{1};
  NamedShape named = Named{"unit"};
  FilePath file;
  Inner inner;
  std::vector<Inner> inners;

  static constexpr std::string_view kDoc = "One of each";
  template <class F>
  static void describe(F& f) {
    f.tag("schema", "moesim.sample/1");
    f.required("name", &Sample::name, "What it is called", Rules::not_empty());
    f.required("bandwidth", &Sample::bandwidth, "Each direction", Rules::above_zero());
    f.optional("latency", &Sample::latency, "Wire excluded");
    f.optional("enabled", &Sample::enabled, "On or off");
    f.optional("count", &Sample::count, "How many", Rules::between(1, 100));
    f.optional("small", &Sample::small, "A byte", Rules::between(-5, 1000));  // wider than the type
    f.optional("large", &Sample::large, "Any whole number");
    f.optional("unsigned_count", &Sample::unsigned_count, "Not negative", Rules::above_zero());
    f.optional("ratio", &Sample::ratio, "A part of the whole", Rules::between(0, 1));
    f.optional("any", &Sample::any, "Any number");
    f.optional("note", &Sample::note, "May be empty");
    f.optional("colour", &Sample::colour, "One of three");
    f.optional("maybe", &Sample::maybe, "May be absent", Rules::at_least(-2));
    f.optional("limit", &Sample::limit, "May be absent", Rules::above_zero());
    f.optional("numbers", &Sample::numbers, "At least one", Rules{.minimum = 0, .min_items = 1});
    f.optional("sizes", &Sample::sizes, "Amounts", Rules::above_zero());
    f.optional("weights", &Sample::weights, "By name", Rules::between(0, 10));
    f.optional("rates", &Sample::rates, "By colour", Rules::above_zero());
    f.optional("shape", &Sample::shape, "A choice");
    f.optional("named", &Sample::named, "A choice that may be a bare name");
    f.required("file", &Sample::file, "A path");
    f.required("inner", &Sample::inner, "A struct");
    f.optional("inners", &Sample::inners, "Structs");
  }
};

/// A valid document that uses every field.
inline constexpr std::string_view kFull = R"json({
  "schema": "moesim.sample/1", "name": "full", "bandwidth": "450 GB/s", "latency": "1.5 us", "enabled": false,
  "count": 12, "small": 200, "large": -9000000000, "unsigned_count": 4000000000, "ratio": 0.25, "any": -1e300,
  "note": "", "colour": "blue", "maybe": -2, "limit": "80 GiB", "numbers": [0, 5, 7], "sizes": ["1 kB", "2 MiB"],
  "weights": {"a": 0, "b/c~d": 10}, "rates": {"red": "989 TFLOP/s", "green": "1 PFLOP/s"},
  "shape": {"circle": {"radius": 1.5}}, "named": {"square": 4}, "file": "some/file.json",
  "inner": {"count": 9, "flag": true}, "inners": [{"count": 0}, {"count": 1, "flag": false}]
})json";

/// A valid document with only what is required.
inline constexpr std::string_view kLeast = R"json({
  "schema": "moesim.sample/1", "name": "least", "bandwidth": "1 B/s", "named": "bare", "file": "f",
  "inner": {"count": 0}
})json";

}  // namespace moesim::sample

template <>
struct moesim::EnumNames<moesim::sample::Colour> {
  static constexpr auto names = std::to_array<std::pair<sample::Colour, std::string_view>>(
      {{sample::Colour::kRed, "red"}, {sample::Colour::kGreen, "green"}, {sample::Colour::kBlue, "blue"}});
};
