#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "program.hpp"
#include "sim/core/file.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

using Json = nlohmann::ordered_json;

/// Four experts, two layers of which the first is dense, two steps.
constexpr const char* kCounts = R"({"logical_count": [[[0, 0, 0, 0], [6, 1, 1, 0]], [[0, 0, 0, 0], [2, 3, 3, 0]]]})";

}  // namespace

TEST_CASE("trace info: the JSON has the promised tables") {
  const ScratchFolder scratch;
  write_file(scratch.path() / "c.json", kCounts);
  const Outcome outcome = run_program(scratch.path(), "trace info c.json --top-k 2 --format json");
  REQUIRE(outcome.exit_code == 0);
  CHECK(outcome.err.empty());
  const Json json = Json::parse(outcome.out);
  CHECK(json.at("schema") == "moesim.result/1");
  CHECK(json.at("command") == "trace info");
  CHECK(json.at("format") == "sglang-json");
  CHECK(json.at("inputs").at(0).at("path") == "c.json");
  REQUIRE(json.at("layers").size() == 1);
  const Json& layer = json.at("layers").at(0);
  // 8, 4, 4, 0 choices of 8 tokens: max/mean 2, Gini (−3·0 − 1·4 + 1·4 + 3·8)/(4·16), entropy ½·1 + 2·¼·2.
  CHECK(layer.at("layer") == 1);
  CHECK(layer.at("experts") == 4);
  CHECK(layer.at("tokens") == 8.0);
  CHECK(layer.at("max_over_mean") == 2.0);
  CHECK(layer.at("gini").get<double>() == Approx(24.0 / 64.0));
  CHECK(layer.at("entropy").get<double>() == Approx(1.5));
  CHECK(layer.at("max_violation") == 1.0);
  CHECK(layer.at("unused") == 1);
  CHECK(json.at("steps").size() == 2);
  // Ranks of two experts: 12 and 4 of 16.
  CHECK(json.at("ranks").at(0).at("ranks") == 2);
  CHECK(json.at("ranks").at(0).at("max_over_mean_mean") == 1.5);
  CHECK(json.at("ranks").at(0).at("max_over_mean_worst") == 1.5);
  CHECK(json.at("capacity").at("factors").at(0).at("capacity_factor") == 1.0);
}

TEST_CASE("trace: generated tokens are converted, looked at and fitted") {
  const ScratchFolder scratch;
  const auto run = [&](const std::string& arguments) {
    const Outcome outcome = run_program(scratch.path(), arguments);
    INFO(arguments << ": " << outcome.err);
    REQUIRE(outcome.exit_code == 0);
    return outcome.out;
  };
  static_cast<void>(run("trace generate --like deepseek-v2-lite --tokens 400 --sequence-tokens 50 -o t.npy"));
  CHECK(run("trace convert t.npy -o t.npz") == "t.npz: written from t.npy (npy)\n");
  CHECK(run("trace convert t.npz -o again.npy") == "again.npy: written from t.npz (npz)\n");
  CHECK(read_file(scratch.path() / "again.npy") == read_file(scratch.path() / "t.npy"));
  const Json json = Json::parse(run("trace info t.npz --pairs 3 --batch-tokens 100 --format json"));
  CHECK(json.at("pairs").at("within").size() == 3);
  CHECK(json.at("pairs").at("layers").size() == 26);
  CHECK(json.at("correlation").at("tokens").at(0).at("distance") == 1);
  CHECK(json.at("capacity").at("batch") == "batches of 100 tokens");
  const std::string fitted = run("trace fit t.npz -o p.json --hold-back time");
  CHECK(fitted.find("compared with the part that was held back") != std::string::npos);
  CHECK(run("trace generate --like p.json --tokens 16 -o g.npy") ==
        "g.npy: 16 tokens, 26 layers, top-6 of 64 experts, like t\n");
}

TEST_CASE("trace: a recording with dropped choices is fitted by its loads") {
  const ScratchFolder scratch;
  const auto run = [&](const std::string& arguments) {
    const Outcome outcome = run_program(scratch.path(), arguments);
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    return outcome;
  };
  static_cast<void>(
      run("trace generate --router switch --experts 16 --layers 2 --tokens 2048 -o t.npy --options "
          "'{\"capacity_factor\": 1.0}'"));
  const Outcome fitted = run("trace fit t.npy --dropped -o p.json");
  CHECK(fitted.err == "note: choices were dropped (-1): only loads are fitted, of those that were not\n");
  CHECK(fitted.out.find("compared with the part that was held back") != std::string::npos);
  static_cast<void>(run("trace generate --like p.json --tokens 2048 -o g.npy"));
  const auto eight_ranks = [&](const std::string& arguments) {
    return Json::parse(run(arguments + " --format json").out).at("ranks").at(2).at("max_over_mean_mean").get<double>();
  };
  CHECK(eight_ranks("trace info g.npy") == Approx(eight_ranks("trace info t.npy --dropped")).epsilon(0.05));
}

TEST_CASE("trace: what cannot be read ends with exit code 2 and a message that names file and fault") {
  const ScratchFolder scratch;
  write_file(scratch.path() / "c.json", kCounts);
  write_file(scratch.path() / "x.npz", "PK no archive");
  const auto check = [&](const std::string& arguments, const std::string& error) {
    const Outcome outcome = run_program(scratch.path(), arguments);
    CHECK(outcome.exit_code == 2);
    CHECK(outcome.err == error);
    CHECK(outcome.out.empty());
  };
  check("trace info c.json --pairs 2",
        "error: c.json: expected choices of tokens, which --pairs and --batch-tokens look at, found counts only\n");
  check("trace fit c.json -o p.json",
        "error: --top-k: expected the experts per token, which counts do not tell; found none\n");
  check("trace info missing.npy", "error: missing.npy: cannot open the file: No such file or directory\n");
  check("trace info x.npz",
        "error: x.npz: expected an .npz archive, found a file that has no zip directory at its end: truncated, or of "
        "another kind\n");
  check("trace convert c.json -o c.npy",
        "error: c.npy: expected a name that ends in .json or .npz, for counts, found .npy\n");
  check("trace info c.json --from npz",
        "error: c.json: expected an .npz archive, found a file that has no zip directory at its end: truncated, or of "
        "another kind\n");
}
