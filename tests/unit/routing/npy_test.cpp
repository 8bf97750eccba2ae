#include "workloads/routing/npy.hpp"

#include "sim/core/error.hpp"
#include "sim/core/random.hpp"
#include "tests/unit/routing/fixture.hpp"

using namespace moesim;

namespace {

std::string fault_of_file(const std::string& file) {
  return error_of([&] { parse_npy_header(bytes_of(file), "x.npy"); });
}

}  // namespace

TEST_CASE("npy: headers of format 1, 2 and 3 tell type, shape and where the data begin") {
  for (const char major : {'\x01', '\x02', '\x03'}) {
    const std::string header = npy_header("<i4", "2, 3");
    const NpyHeader read = parse_npy_header(bytes_of(npy_with_header(header, std::string(24, '\0'), major)), "x.npy");
    CHECK(read.type == NpyType::kInt32);
    CHECK(read.shape == std::vector<std::size_t>{2, 3});
    CHECK(read.elements() == 6);
    CHECK(read.data_offset == 8 + (major == 1 ? 2 : 4) + header.size());
  }
}

TEST_CASE("npy: keys in any order, either quote, no trailing commas, one dimension") {
  const std::string file =
      npy_with_header("{\"shape\": (4,), \"fortran_order\": False, \"descr\": \"|u1\"}  \n", "abcd");
  const NpyHeader read = parse_npy_header(bytes_of(file), "x.npy");
  CHECK(read.type == NpyType::kUint8);
  CHECK(read.shape == std::vector<std::size_t>{4});
}

TEST_CASE("npy: what is not read, and why") {
  const std::string eight(8, '\0');
  CHECK(fault_of_file("PK\x03\x04 something") ==
        "x.npy: expected a .npy file (it begins with \\x93NUMPY), found 14 bytes of something else");
  CHECK(fault_of_file(npy_with_header(npy_header("<u1", "8"), eight, 9)) ==
        "x.npy: expected .npy format 1, 2 or 3, found 9");
  CHECK(fault_of_file(npy_with_header(npy_header(">i4", "2"), eight)) ==
        "x.npy: expected little-endian elements, found big-endian ones (descr '>i4')");
  CHECK(fault_of_file(npy_with_header(npy_header("<i4", "2", "True"), eight)) ==
        "x.npy: expected an array in C order, found Fortran order (save numpy.ascontiguousarray of it)");
  CHECK(fault_of_file(npy_with_header(npy_header("<c8", "1"), eight)) ==
        "x.npy: expected elements of type uint8 to int64, float32 or float64, found descr '<c8'");
  CHECK(fault_of_file(npy_with_header(npy_header("|b1", "8"), eight)) ==
        "x.npy: expected elements of type uint8 to int64, float32 or float64, found descr '|b1'");
  CHECK(fault_of_file(npy_with_header("{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (2,)}", eight)) ==
        "x.npy: expected a quoted text at byte 10 of the .npy header, found something else (a structured array?)");
  CHECK(fault_of_file(npy_with_header(npy_header("<i4", "3"), eight)) ==
        "x.npy: expected 12 bytes of data for shape [3] of int32, found 8: the file is truncated");
  CHECK(fault_of_file(npy_with_header(npy_header("<i4", "1"), eight)) ==
        "x.npy: expected 4 bytes of data for shape [1] of int32, found 8");
  CHECK(fault_of_file(npy_with_header(npy_header("<i4", "4611686018427387904, 4611686018427387904"), eight)) ==
        "x.npy: expected more than 2^64 bytes of data for shape [4611686018427387904, 4611686018427387904] of int32, "
        "found 8: the file is truncated");
  CHECK(fault_of_file(npy_with_header("{'descr': '<i4', 'fortran_order': False}", eight)) ==
        "x.npy: expected descr, fortran_order and shape in the .npy header, found only some of them");
  CHECK(fault_of_file(npy_with_header("{'descr': '<i4', 'descr': '<i4'}", eight)) ==
        "x.npy: expected each of descr, fortran_order and shape once in the .npy header, found 'descr' twice");
  CHECK(fault_of_file(npy_with_header(npy_header("<i4", "-2"), eight)) ==
        "x.npy: expected a whole number at byte 51 of the .npy header, found something else");
}

TEST_CASE("npy: a file cut anywhere is an error, never a crash") {
  const std::string whole = npy_with_header(npy_header("<i4", "2, 3"), std::string(24, '\1'));
  REQUIRE(fault_of_file(whole) == "nothing");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CHECK(fault_of_file(whole.substr(0, size)) != "nothing");
  }
}

TEST_CASE("npy: damaged headers end in an error or in a header that fits the file") {
  const std::string whole = npy_with_header(npy_header("<i4", "2, 3"), std::string(24, '\1'));
  RandomStream random(1, "npy-test");
  for (int i = 0; i < 20000; ++i) {
    std::string damaged = whole;
    for (std::size_t n = 1 + random.below(3); n > 0; --n) {
      damaged[random.below(damaged.size())] = static_cast<char>(random.below(256));
    }
    try {
      const NpyHeader header = parse_npy_header(bytes_of(damaged), "x.npy");
      REQUIRE(header.data_offset + header.elements() * size_of(header.type) == damaged.size());
    } catch (const ConfigError&) {
      // as it should be
    }
  }
}
