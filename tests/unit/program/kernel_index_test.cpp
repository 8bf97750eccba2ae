#include "sim/program/kernel_index.hpp"

#include <catch2/catch.hpp>

using namespace moesim;

TEST_CASE("kernel index: a kernel is kept once, and whatever differs is another") {
  std::vector<Kernel> kernels;
  KernelIndex index(kernels);
  const Gemm gemm{.m = 128, .n = 7168, .k = 2048};
  CHECK(index.place(gemm) == 0);
  CHECK(index.place(Experts{.rows = {3, 4}, .tokens = 7}) == 1);
  CHECK(index.place(gemm) == 0);
  // Fields that no hash looks at.
  CHECK(index.place(Gemm{.m = 128, .n = 7168, .k = 2048, .weight = DataType::kFp8}) == 2);
  CHECK(index.place(Experts{.rows = {3, 4}, .tokens = 7, .exponent = 1.2}) == 3);
  CHECK(index.place(Experts{.rows = {4, 3}, .tokens = 7}) == 4);
  CHECK(index.place(Streaming{.read = bytes(1.0)}) == 5);
  CHECK(index.place(Streaming{.read = bytes(1.0), .work = flops(1.0)}) == 6);
  CHECK(index.place(Experts{.rows = {3, 4}, .tokens = 7}) == 1);
  REQUIRE(kernels.size() == 7);
  CHECK(kernels[0] == Kernel(gemm));
}
