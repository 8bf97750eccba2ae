#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "program.hpp"
#include "sim/core/file.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

/// A .npy file of uint8 [tokens, layers, k]: token t chooses experts t + j modulo `experts` in every layer.
std::string npy(std::size_t tokens, std::size_t layers, std::size_t k, std::size_t experts,
                const char* order = "False") {
  std::string header = "{'descr': '|u1', 'fortran_order': " + std::string(order) + ", 'shape': (" +
                       std::to_string(tokens) + ", " + std::to_string(layers) + ", " + std::to_string(k) + "), }";
  header.resize(118 - 1, ' ');
  header += '\n';
  std::string file = "\x93NUMPY";
  file += '\x01';
  file += '\0';
  file += static_cast<char>(header.size() & 255);
  file += static_cast<char>(header.size() >> 8);
  file += header;
  for (std::size_t token = 0; token < tokens; ++token) {
    for (std::size_t layer = 0; layer < layers; ++layer) {
      for (std::size_t j = 0; j < k; ++j) {
        file += static_cast<char>((token + j) % experts);
      }
    }
  }
  return file;
}

/// The traces that the fixtures name; OLMoE has 16 MoE layers and top-8 of 64 experts.
void write_traces(const std::filesystem::path& folder) {
  write_file(folder / "expert_out_of_range.npy", npy(100, 16, 8, 70));
  write_file(folder / "other_layer_count.npy", npy(100, 15, 8, 64));
  write_file(folder / "other_k.npy", npy(100, 16, 6, 64));
  const std::string whole = npy(100, 16, 8, 64);
  write_file(folder / "truncated.npy", whole.substr(0, whole.size() - 5));
  write_file(folder / "no_tokens.npy", npy(0, 16, 8, 64));
  write_file(folder / "fortran_order.npy", npy(100, 16, 8, 64, "True"));
}

}  // namespace

// Every fixture in bad_input/ is run as it stands; what the program says must be what stands in its .expected file,
// to the letter. MOESIM_UPDATE_EXPECTED=1 rewrites these files; read the difference before you commit it.
TEST_CASE("bad input is refused with exit code 2 and a text that says what is wrong") {
  const std::filesystem::path fixtures = std::filesystem::path(MOESIM_SOURCE_DIR) / "tests/cli/bad_input";
  const ScratchFolder scratch;
  std::vector<std::string> names{"no_file"};
  for (const auto& entry : std::filesystem::directory_iterator(fixtures)) {
    if (entry.path().extension() == ".json") {
      names.push_back(entry.path().stem());
      std::filesystem::copy(entry.path(), scratch.path());
    }
  }
  std::sort(names.begin(), names.end());
  REQUIRE(names.size() > 20);
  write_traces(scratch.path());
  for (const std::string& name : names) {
    INFO("fixture " << name);
    const Outcome outcome = run_program(scratch.path(), "run " + name + ".json --out results");
    CHECK(outcome.exit_code == 2);
    CHECK(outcome.out.empty());
    CHECK_FALSE(std::filesystem::exists(scratch.path() / "results"));
    const std::filesystem::path expected = fixtures / (name + ".expected");
    if (std::getenv("MOESIM_UPDATE_EXPECTED") != nullptr) {  // NOLINT(concurrency-mt-unsafe): one thread
      write_file(expected, outcome.err);
    }
    CHECK(outcome.err == read_file(expected));
  }
}
