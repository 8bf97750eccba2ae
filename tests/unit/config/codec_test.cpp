#include "sim/config/codec.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>

#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"
#include "sim/core/random.hpp"
#include "tests/scratch.hpp"
#include "tests/unit/config/faults.hpp"
#include "tests/unit/config/sample.hpp"

using namespace moesim;
using sample::Circle;
using sample::Colour;
using sample::Named;
using sample::NamedShape;
using sample::Shape;
using sample::Square;

TEST_CASE("booleans are true and false and nothing else") {
  CHECK(value_of<bool>("true"));
  CHECK_FALSE(value_of<bool>("false"));
  CHECK(value_faults<bool>("1") == "d: expected true or false, found the number 1");
  CHECK(value_faults<bool>("\"true\"") == "d: expected true or false, found \"true\"");
  CHECK(value_faults<bool>("null") == "d: expected true or false, found null");
}

TEST_CASE("integers are not rounded, wrapped or converted") {
  CHECK(value_of<int>("-2147483648") == INT32_MIN);
  CHECK(value_of<int>("2147483647") == INT32_MAX);
  CHECK(value_faults<int>("2147483648") ==
        "d: expected a whole number, -2147483648 to 2147483647, found the number 2147483648");
  CHECK(value_faults<int>("-2147483649") ==
        "d: expected a whole number, -2147483648 to 2147483647, found the number -2147483649");
  CHECK(value_faults<int>("8.7") == "d: expected a whole number, found the number 8.7");
  CHECK(value_faults<int>("3.0") == "d: expected a whole number, found the number 3.0");
  CHECK(value_faults<int>("1e3") == "d: expected a whole number, found the number 1000.0");
  CHECK(value_faults<int>("true") == "d: expected a whole number, found true");
  CHECK(value_faults<int>("\"3\"") == "d: expected a whole number, found \"3\"");
  CHECK(value_faults<unsigned>("-1") == "d: expected a whole number, 0 to 4294967295, found the number -1");
  CHECK(value_of<std::uint8_t>("255") == 255);
  CHECK(value_faults<std::uint8_t>("256") == "d: expected a whole number, 0 to 255, found the number 256");
  CHECK(value_of<std::int64_t>("-9223372036854775808") == INT64_MIN);
  CHECK(value_of<std::int64_t>("9223372036854775807") == INT64_MAX);
  CHECK(value_faults<std::int64_t>("9223372036854775808") ==
        "d: expected a whole number, -9223372036854775808 to 9223372036854775807, found the number "
        "9223372036854775808");
  CHECK(value_of<std::uint64_t>("9223372036854775807") == INT64_MAX);
  CHECK(value_faults<std::uint64_t>("18446744073709551615") ==
        "d: expected a whole number, 0 to 9223372036854775807, found the number 18446744073709551615");
}

TEST_CASE("rules limit numbers, edges included") {
  CHECK(value_faults<int>("1", Rules::between(1, 8)).empty());
  CHECK(value_faults<int>("8", Rules::between(1, 8)).empty());
  CHECK(value_faults<int>("0", Rules::between(1, 8)) == "d: expected a whole number, 1 to 8, found the number 0");
  CHECK(value_faults<int>("9", Rules::between(1, 8)) == "d: expected a whole number, 1 to 8, found the number 9");
  CHECK(value_faults<int>("-1", Rules::at_least(0)) == "d: expected a whole number, at least 0, found the number -1");
  CHECK(value_faults<int>("0", Rules::above_zero()) == "d: expected a whole number, more than 0, found the number 0");
  CHECK(value_faults<int>("6", Rules{.maximum = 5}) == "d: expected a whole number, at most 5, found the number 6");
  CHECK(value_faults<double>("1", Rules::between(0, 1)).empty());
  CHECK(value_faults<double>("1.001", Rules::between(0, 1)) == "d: expected a number, 0 to 1, found the number 1.001");
  CHECK(value_faults<double>("0.0", Rules::above_zero()) == "d: expected a number, more than 0, found the number 0.0");
  CHECK(value_faults<double>("3", Rules{.maximum = 2, .positive = true}) ==
        "d: expected a number, more than 0 and at most 2, found the number 3");
  CHECK(value_faults<double>("-1", Rules::at_least(-0.5)) ==
        "d: expected a number, at least -0.5, found the number -1");
}

TEST_CASE("numbers are whole or not, texts never") {
  CHECK(value_of<double>("3") == 3.0);
  CHECK(value_of<double>("-2.5e-3") == -2.5e-3);
  CHECK(value_faults<double>("\"3\"") == "d: expected a number, found \"3\"");
  CHECK(value_faults<double>("false") == "d: expected a number, found false");
}

TEST_CASE("texts may have to be non-empty") {
  CHECK(value_of<std::string>("\"\"").empty());
  CHECK(value_of<std::string>("\"x\"", Rules::not_empty()) == "x");
  CHECK(value_faults<std::string>("\"\"", Rules::not_empty()) == "d: expected a non-empty text, found \"\"");
  CHECK(value_faults<std::string>("7", Rules::not_empty()) == "d: expected a non-empty text, found the number 7");
  CHECK(value_faults<std::string>("[]") == "d: expected a text, found an array of 0");
}

TEST_CASE("quantities are texts with a unit") {
  CHECK(value_of<Bandwidth>("\"400 Gb/s\"") == bytes_per_second(50e9));
  CHECK(value_of<Duration>("\"0 s\"") == seconds(0));
  CHECK(
      value_faults<Bandwidth>("450e9") ==
      "d: expected a bandwidth as a string with its unit, such as \"450 GB/s\"; found the bare number 450000000000.0");
  CHECK(value_faults<Bandwidth>("null") == "d: expected a bandwidth such as \"450 GB/s\", found null");
  CHECK(value_faults<Bandwidth>("\"450 Gbs\"") ==
        "d: expected a bandwidth such as \"450 GB/s\", found \"450 Gbs\"; did you mean \"GB/s\"?");
  CHECK(value_faults<Bytes>("\"-1 GB\"") == "d: expected an amount of data such as \"141 GB\", found \"-1 GB\"");
  CHECK(value_faults<Bytes>("\"0.0 GB\"", Rules::above_zero()) ==
        "d: expected an amount of data above zero, found \"0.0 GB\"");
  CHECK(value_faults<PriceRate>("{}") == "d: expected a price per time such as \"2.5 USD/h\", found an empty object");
}

TEST_CASE("enumerations are their names") {
  CHECK(value_of<Colour>("\"blue\"") == Colour::kBlue);
  CHECK(value_faults<Colour>("\"bleu\"") ==
        "d: expected one of red, green, blue, found \"bleu\"; did you mean \"blue\"?");
  CHECK(value_faults<Colour>("\"Red\"") == "d: expected one of red, green, blue, found \"Red\"; did you mean \"red\"?");
  CHECK(value_faults<Colour>("\"\"") == "d: expected one of red, green, blue, found \"\"");
  CHECK(value_faults<Colour>("1") == "d: expected one of red, green, blue, found the number 1");
  CHECK(name_of(Colour::kGreen) == "green");
}

TEST_CASE("null is not a way to say absent") {
  CHECK(value_of<std::optional<int>>("3") == 3);
  CHECK(value_faults<std::optional<int>>("null") == "d: expected a whole number, found null");
}

TEST_CASE("arrays tell every faulty element") {
  CHECK(value_of<std::vector<int>>("[]").empty());
  CHECK(value_of<std::vector<int>>("[3, 1]") == std::vector<int>{3, 1});
  CHECK(value_faults<std::vector<int>>("[1, true, 2, 0.5]") ==
        "d#/1: expected a whole number, found true\nd#/3: expected a whole number, found the number 0.5");
  CHECK(value_faults<std::vector<int>>("{}") == "d: expected an array, found an empty object");
  const Rules rules{.minimum = 0, .min_items = 2};
  CHECK(value_faults<std::vector<int>>("[1]", rules) == "d: expected an array of at least 2, found an array of 1");
  CHECK(value_faults<std::vector<int>>("[1, -1]", rules) ==
        "d#/1: expected a whole number, at least 0, found the number -1");
  CHECK(value_faults<std::vector<std::string>>("[\"\"]", Rules::not_empty()).empty());  // min_items is the array's
}

TEST_CASE("maps have free keys, or those of an enumeration") {
  const auto weights = value_of<std::map<std::string, double>>(R"({"b": 1, "a": 2, "": 3})");
  CHECK(weights == std::map<std::string, double>{{"b", 1}, {"a", 2}, {"", 3}});
  CHECK(value_faults<std::map<std::string, double>>(R"({"a/b": null, "c": 1})") ==
        "d#/a~1b: expected a number, found null");
  CHECK(value_faults<std::map<std::string, double>>("[]") == "d: expected an object, found an array of 0");
  CHECK(value_of<std::map<Colour, Bytes>>(R"({"red": "1 B"})") == std::map<Colour, Bytes>{{Colour::kRed, bytes(1)}});
  CHECK(value_faults<std::map<Colour, Bytes>>(R"({"rad": "1 B", "blue": "1 X"})") ==
        "d#/rad: expected one of red, green, blue, found \"rad\"; did you mean \"red\"?\n"
        "d#/blue: expected an amount of data such as \"141 GB\", found \"1 X\"");
}

TEST_CASE("a choice is an object with one key") {
  CHECK(std::get<Circle>(value_of<Shape>(R"({"circle": {"radius": 2}})")).radius == 2.0);
  CHECK(std::get<Square>(value_of<Shape>(R"({"square": 5})")).value == 5);
  CHECK(value_faults<Shape>("{}") == "d: expected an object with one of the keys circle, square, found 0 keys");
  CHECK(value_faults<Shape>(R"({"circle": {"radius": 2}, "square": 5})") ==
        "d: expected an object with one of the keys circle, square, found 2 keys");
  CHECK(value_faults<Shape>("\"circle\"") ==
        "d: expected an object with one of the keys circle, square, found \"circle\"");
  CHECK(value_faults<Shape>(R"({"cirle": 1})") ==
        "d: expected one of the keys circle, square, found \"cirle\"; did you mean \"circle\"?");
  CHECK(value_faults<Shape>(R"({"circle": {"radius": 0}})") ==
        "d#/circle/radius: expected a number, more than 0, found the number 0");
}

TEST_CASE("a choice with a bare alternative may be a text") {
  CHECK(std::get<Named>(value_of<NamedShape>("\"round\"")).value == "round");
  CHECK(std::get<Square>(value_of<NamedShape>(R"({"square": 5})")).value == 5);
  CHECK(value_faults<NamedShape>("5") ==
        "d: expected a name or an object with one of the keys circle, square, found the number 5");
  CHECK(value_faults<NamedShape>(R"({"": "x"})") == "d: expected one of the keys circle, square, found \"\"");
}

TEST_CASE("a path is looked up beside the document, then where we are") {
  namespace fs = std::filesystem;
  const fs::path folder = moesim::test::scratch_path("moesim_file_path_test");
  fs::create_directories(folder);
  const auto read = [&](const std::string& written) {
    std::ofstream(folder / "d.json") << Json(written).dump();
    const Document document = Document::read(folder / "d.json");
    std::vector<Diagnostic> faults;
    FilePath path;
    REQUIRE(Codec<FilePath>::decode(Cursor(document, faults), {}, path));
    CHECK(path.written == written);
    return path.resolved;
  };
  std::ofstream(folder / "beside.txt") << "x";
  std::ofstream("moesim_file_path_here.txt") << "x";
  CHECK(read("beside.txt") == folder / "beside.txt");
  CHECK(read("moesim_file_path_here.txt") == "moesim_file_path_here.txt");
  CHECK(read("nowhere.txt") == folder / "nowhere.txt");  // the error will name the first place
  CHECK(read((folder / "beside.txt").string()) == folder / "beside.txt");
  fs::remove("moesim_file_path_here.txt");
  fs::remove_all(folder);

  CHECK(value_of<FilePath>("\"nowhere.txt\"").resolved == "nowhere.txt");  // a text has no folder
  CHECK(value_faults<FilePath>("\"\"") == "d: expected a non-empty text, found \"\"");
  CHECK(value_faults<FilePath>("3") == "d: expected a non-empty text, found the number 3");
}

TEST_CASE("what is encoded is decoded to the same") {
  RandomStream random(8, "codec");
  const auto back = []<class T>(const T& value) { return value_of<T>(Codec<T>::encode(value).dump()); };
  for (int i = 0; i < 2000; ++i) {
    const auto whole = static_cast<std::int64_t>(random.bits());
    CHECK(back(whole) == whole);
    const double number = random.normal() * std::pow(10.0, static_cast<double>(random.below(200)) - 100);
    CHECK(back(number) == number);
    const Duration time = seconds(random.exponential() * std::pow(10.0, -static_cast<double>(random.below(12))));
    CHECK(back(time) == time);
    const Bandwidth rate = bytes_per_second(random.uniform() * 1e13);
    CHECK(back(rate) == rate);
  }
  CHECK(back(Colour::kRed) == Colour::kRed);
  CHECK(back(std::vector<int>{}) == std::vector<int>{});
  const std::map<Colour, Bytes> sizes{{Colour::kBlue, bytes(3)}};
  CHECK(back(sizes) == sizes);
  const std::map<std::string, double> odd{{"a/b~c\n\"", 1.5}};
  CHECK(back(odd) == odd);
  CHECK(std::get<Named>(back(NamedShape(Named{"x"}))).value == "x");
  CHECK(std::get<Square>(back(NamedShape(Square{4}))).value == 4);
  CHECK(Codec<FilePath>::encode({"as/written", "/resolved"}) == "as/written");
  CHECK(Codec<std::optional<int>>::encode(std::nullopt).is_null());
}
