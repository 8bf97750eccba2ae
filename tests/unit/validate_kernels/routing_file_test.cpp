#include "validate/kernels/routing_file.hpp"

#include <catch2/catch.hpp>
#include <cstring>
#include <numeric>

#include "sim/core/error.hpp"

namespace moesim::bench {
namespace {

template <class T>
std::vector<unsigned char> npy(const std::string& type, const std::string& shape, const std::vector<T>& values,
                               const std::string& order = "False") {
  std::string header = "{'descr': '" + type + "', 'fortran_order': " + order + ", 'shape': (" + shape + "), }\n";
  std::vector<unsigned char> out{0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0};
  out.push_back(static_cast<unsigned char>(header.size() % 256));
  out.push_back(static_cast<unsigned char>(header.size() / 256));
  out.insert(out.end(), header.begin(), header.end());
  const std::size_t begin = out.size();
  out.resize(begin + values.size() * sizeof(T));
  std::memcpy(out.data() + begin, values.data(), values.size() * sizeof(T));
  return out;
}

TEST_CASE("recorded routing in each type that recorders write") {
  // [2 tokens, 3 layers, 2]
  const std::vector<int> ids{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  const auto check = [&](const Routing& routing) {
    CHECK(routing.tokens == 2);
    CHECK(routing.layers == 3);
    CHECK(routing.k == 2);
    CHECK(routing.highest == 11);
    CHECK(routing.at(1, 2, 0) == 10);
    CHECK(routing.at(0, 1, 1) == 3);
  };
  const std::vector<std::uint8_t> bytes(ids.begin(), ids.end());
  const std::vector<std::int16_t> shorts(ids.begin(), ids.end());
  const std::vector<std::int64_t> longs(ids.begin(), ids.end());
  check(parse_routing("a.npy", npy("|u1", "2, 3, 2", bytes)));
  check(parse_routing("a.npy", npy("<i2", "2, 3, 2", shorts)));
  check(parse_routing("a.npy", npy("<u2", "2, 3, 2", shorts)));
  check(parse_routing("a.npy", npy("<i4", "2, 3, 2", ids)));
  check(parse_routing("a.npy", npy("<i8", "2, 3, 2", longs)));
}

TEST_CASE("broken recordings are refused by name") {
  const std::vector<std::int32_t> ids{0, 1, 2, 3};
  const auto message = [](const std::vector<unsigned char>& content) -> std::string {
    try {
      parse_routing("a.npy", content);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "none";
  };
  const auto whole = npy("<i4", "1, 2, 2", ids);
  CHECK(message(whole) == "none");
  CHECK(message({}) == "a.npy: expected an .npy file, found another beginning");
  CHECK(message({whole.begin(), whole.end() - 1}) == "a.npy: expected 16 bytes of data, found 15");
  CHECK(message({whole.begin(), whole.begin() + 40}) ==
        "a.npy: expected a whole .npy header, found a file that is cut off");
  CHECK(message(npy("<i4", "2, 2", ids)) == "a.npy: expected the shape [tokens, layers, k], found 2 dimensions");
  CHECK(message(npy("<f4", "1, 2, 2", ids)) ==
        "a.npy: expected uint8, int16, uint16, int32 or int64, little-endian, found '<f4'");
  CHECK(message(npy(">i4", "1, 2, 2", ids)).find("found '>i4'") != std::string::npos);
  CHECK(message(npy("<i4", "1, 2, 2", ids, "True")) == "a.npy: expected a row-major array (fortran_order False)");
  CHECK(message(npy("<i4", "1, x, 2", ids)) == "a.npy: expected a shape of whole numbers, found ((1, x, 2)");
  CHECK(message(npy("<i4", "0, 2, 2", std::vector<std::int32_t>{})) ==
        "a.npy: expected tokens, up to 1024 layers and up to 256 choices, found [0, 2, 2]");
  CHECK(message(npy("<i4", "1, 2, 2", std::vector<std::int32_t>{0, 1, -1, 3})) ==
        "a.npy: expected ids of experts between 0 and 65535, found -1 at element 2");
  CHECK_THROWS_WITH(read_routing("/nowhere/a.npy"), "/nowhere/a.npy: expected a file, found none that can be read");
}

TEST_CASE("ranks share what the tokens chose, and nothing is lost") {
  // Layer 1 of four tokens: (0, 5), (5, 3), (0, 5), (2, 1).
  const Routing routing{
      .tokens = 4, .layers = 2, .k = 2, .experts = {7, 7, 0, 5, 7, 7, 5, 3, 7, 7, 0, 5, 7, 7, 2, 1}, .highest = 7};
  const auto counts = expert_counts(routing, 1, 0, 4, 8);
  CHECK(counts == std::vector<std::int64_t>{2, 1, 1, 1, 0, 3, 0, 0});
  CHECK(expert_counts(routing, 1, 1, 2, 8) == std::vector<std::int64_t>{1, 0, 0, 1, 0, 2, 0, 0});
  CHECK(rank_rows(counts, 4, 2) == std::vector<std::int64_t>{0, 3});
  std::int64_t all = 0;
  for (std::int64_t rank = 0; rank < 4; ++rank) {
    const auto rows = rank_rows(counts, 4, rank);
    all = std::accumulate(rows.begin(), rows.end(), all);
  }
  CHECK(all == 8);
}

}  // namespace
}  // namespace moesim::bench
