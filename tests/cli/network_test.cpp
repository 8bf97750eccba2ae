#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "program.hpp"
#include "sim/core/file.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

/// A .npy file of float64 [rows, columns].
std::string npy(std::size_t rows, std::size_t columns, double value) {
  std::string header = "{'descr': '<f8', 'fortran_order': False, 'shape': (" + std::to_string(rows) + ", " +
                       std::to_string(columns) + "), }";
  header.resize(118 - 1, ' ');
  header += '\n';
  std::string file("\x93NUMPY\x01\x00", 8);
  file += static_cast<char>(header.size() & 255);
  file += static_cast<char>(header.size() >> 8);
  file += header;
  for (std::size_t i = 0; i < rows * columns; ++i) {
    file.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  return file;
}

struct Bad {
  const char* arguments;
  const char* text;
};

}  // namespace

TEST_CASE("network: bad input is refused with a text that says what is wrong") {
  const ScratchFolder scratch;
  write_file(scratch.path() / "good.csv", "src,dst,bytes\n0,1,1000\n");
  write_file(scratch.path() / "header.csv", "from,to,bytes\n0,1,1000\n");
  write_file(scratch.path() / "empty.csv", "");
  write_file(scratch.path() / "no_lines.csv", "src,dst,bytes\n");
  write_file(scratch.path() / "negative.csv", "src,dst,bytes\n0,1,1000\n1,0,-5\n");
  write_file(scratch.path() / "nan.csv", "src,dst,bytes\n0,1,nan\n");
  write_file(scratch.path() / "text.csv", "src,dst,bytes\n0,1,5 MB\n");
  write_file(scratch.path() / "fields.csv", "src,dst,bytes\n0,1\n");
  write_file(scratch.path() / "rank.csv", "src,dst,bytes\n0,-1,7\n");
  write_file(scratch.path() / "square.npy", npy(4, 4, 1e6));
  write_file(scratch.path() / "oblong.npy", npy(4, 3, 1e6));
  const Bad cases[] = {
      {"hgx-h200", "error: moesim network: expected one of --alltoall BYTES and --traffic FILE, found neither\n"},
      {"hgx-h200 --alltoall 1MB --traffic good.csv",
       "error: moesim network: expected one of --alltoall BYTES and --traffic FILE, found both\n"},
      {"hgx-h20O --traffic good.csv",
       "error: hgx-h20O: expected a cluster file or the name of a cluster, found neither; did you mean "
       "\"hgx-h20\"?\n"},
      {"hgx-h200 --alltoall 64x", "error: --alltoall: expected an amount of data such as \"141 GB\", found \"64x\"\n"},
      {"hgx-h200 --traffic header.csv",
       "error: header.csv: expected the header src,dst,bytes, found \"from,to,bytes\"\n"},
      {"hgx-h200 --traffic empty.csv", "error: empty.csv: expected the header src,dst,bytes, found an empty file\n"},
      {"hgx-h200 --traffic no_lines.csv",
       "error: no_lines.csv: expected at least one line of src,dst,bytes, found none\n"},
      {"hgx-h200 --traffic negative.csv", "error: negative.csv: line 3: expected bytes from 0 to 1e+18, found -5\n"},
      {"hgx-h200 --traffic nan.csv", "error: nan.csv: line 2: expected bytes from 0 to 1e+18, found nan\n"},
      {"hgx-h200 --traffic text.csv", "error: text.csv: line 2: expected a number of bytes, found \"5 MB\"\n"},
      {"hgx-h200 --traffic fields.csv", "error: fields.csv: line 2: expected 3 fields src,dst,bytes, found 2\n"},
      {"hgx-h200 --traffic rank.csv", "error: rank.csv: line 2: expected a rank from 0 to 1048575, found \"-1\"\n"},
      {"hgx-h200 --traffic good.csv --ranks 1", "error: good.csv: line 2: expected a rank from 0 to 0, found \"1\"\n"},
      {"hgx-h200 --traffic oblong.npy",
       "error: oblong.npy: expected a square array [ranks, ranks], found the shape [4, 3]\n"},
      {"hgx-h200 --traffic square.npy --ranks 8",
       "error: square.npy: expected the shape [8, 8] for 8 ranks, found [4, 4]\n"},
  };
  for (const Bad& bad : cases) {
    INFO(bad.arguments);
    const Outcome outcome = run_program(scratch.path(), std::string("network ") + bad.arguments);
    CHECK(outcome.exit_code == 2);
    CHECK(outcome.out.empty());
    CHECK(outcome.err == bad.text);
  }
}

// 4 ranks in one node, 1 MB from each to each: 3 MB leave every port at 450 GB/s, 6.6667 us after the latency of
// 3.33 us. Each rank keeps 1 MB, which takes no time, and that is said.
TEST_CASE("network: a matrix from .npy, as JSON, with the transfers' times") {
  const ScratchFolder scratch;
  write_file(scratch.path() / "square.npy", npy(4, 4, 1e6));
  const Outcome outcome =
      run_program(scratch.path(), "network hgx-h200 --traffic square.npy --format json --flow-times times.csv");
  REQUIRE(outcome.exit_code == 0);
  CHECK(outcome.err ==
        "warning: square.npy: 4 MB from ranks to themselves stay local: they take no link and no time\n");
  const auto json = nlohmann::json::parse(outcome.out);
  CHECK(json["schema"] == "moesim.result/1");
  CHECK(json["command"] == "network");
  CHECK(json["metrics"]["completion_time"]["value"].get<double>() == Approx(3.33e-6 + 3e6 / 450e9).epsilon(1e-6));
  CHECK(json["metrics"]["completion_time"]["unit"] == "s");
  CHECK(json["metrics"]["bound_ratio"]["value"].get<double>() == Approx(1.0));
  CHECK(json["metrics"]["bytes_local"]["value"] == 4e6);
  CHECK(json["links"].size() == 8);  // a port out and a port in for each of four GPUs
  CHECK(json["links"][0]["bytes"] == 3e6);
  const std::string times = read_file(scratch.path() / "times.csv");
  CHECK(times.substr(0, 50) == "src,dst,bytes,finish_s\n0,1,1000000,0.000009996667\n");
}

// Rank 0 of four sends 3 and 1 GB in two lines, so does 2, rank 1 names a pair once.
TEST_CASE("network: pairs in several lines are added up, and it is said") {
  const ScratchFolder scratch;
  write_file(scratch.path() / "twice.csv", "src,dst,bytes\n2,3,1e9\n0,1,3e9\n2,3,5\n0,1,1e9\n1,0,7\n0,1,1e9\n");
  const Outcome outcome = run_program(scratch.path(), "network hgx-h200 --traffic twice.csv --format json");
  REQUIRE(outcome.exit_code == 0);
  CHECK(outcome.err == "warning: twice.csv: 2 pairs are in several lines, 0,1 the first: their bytes are added up\n");
  CHECK(nlohmann::json::parse(outcome.out)["links"][0]["bytes"] == 5e9);
  write_file(scratch.path() / "one.csv", "src,dst,bytes\n2,3,1\n2,3,5\n");
  CHECK(run_program(scratch.path(), "network hgx-h200 --traffic one.csv").err ==
        "warning: one.csv: 1 pair is in several lines, 2,3 the first: their bytes are added up\n");
}

// Equal shares load a healthy cluster's links alike, and nobody sends most. Where GPU 3's way out of its node is a
// tenth as wide, that is the busiest link, and only rank 3 sends over it.
TEST_CASE("network: who loads the busiest links of a cluster with faults") {
  const ScratchFolder scratch;
  const auto busiest = [&](const std::string& set) {
    const Outcome outcome =
        run_program(scratch.path(), "network hgx-h200 --ranks 8 --alltoall 64MB --format json" + set);
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    return nlohmann::json::parse(outcome.out)["links"][0];
  };
  CHECK_FALSE(busiest("").contains("senders"));
  const auto link = busiest(
      R"( --set '/faults=[{"link": {"from": "node0/gpu3", "to": "node0/nvswitch", "direction": "one", "capacity": 0.1}}]')");
  CHECK(link["link"] == "node0/gpu3 → node0/nvswitch");
  REQUIRE(link["senders"].size() == 1);
  CHECK(link["senders"][0]["rank"] == 3);
  CHECK(link["senders"][0]["bytes"].get<double>() == Approx(56e6));
}
