#include "validate/fit/contention_fit.hpp"

#include <catch2/catch.hpp>

#include "models/hardware/hardware.hpp"
#include "sim/core/error.hpp"

using namespace moesim;

namespace {

Accelerator h200() { return find_accelerator("h200-sxm", {"test", ""}); }

/// Slowdowns by the law, beside rivals that hold so many units and stream as much in proportion.
std::vector<ContentionRow> rows_of(const ContentionTerms& terms, std::initializer_list<std::int64_t> counts) {
  const Accelerator accelerator = h200();
  std::vector<ContentionRow> rows;
  for (const Bound bound : {Bound::kCompute, Bound::kMemory}) {
    for (const std::int64_t units : counts) {
      for (const double rival : {0.0, 0.004 * static_cast<double>(units)}) {
        ContentionRow row;
        row.bound = bound;
        row.units = units;
        row.work_rate = (bound == Bound::kMemory ? 0.9 : 0.2) * accelerator.memory_bandwidth.base();
        row.rival_rate = rival * accelerator.memory_bandwidth.base();
        row.slowdown = 1.0 / speed_beside({static_cast<double>(units) / accelerator.compute_units, rival}, bound,
                                          bound == Bound::kMemory ? 0.9 : 0.2, terms);
        rows.push_back(row);
      }
    }
  }
  return rows;
}

TEST_CASE("contention: a kernel's speed is what the units or the bandwidth that are left allow, whichever is less") {
  const ContentionTerms terms{.compute_bound = 1.0, .memory_bound = 0.5};
  // 20 of 132 units: 112/132 for what needs all of them, nothing for what needs half.
  CHECK(speed_beside({20.0 / 132.0, 0.0}, Bound::kCompute, 0.0, terms) == Approx(112.0 / 132.0));
  CHECK(speed_beside({20.0 / 132.0, 0.0}, Bound::kMemory, 0.9, terms) == 1.0);
  // A quarter of the bandwidth gone: 0.75 is left of the 0.9 that it takes.
  CHECK(speed_beside({20.0 / 132.0, 0.25}, Bound::kMemory, 0.9, terms) == Approx(0.75 / 0.9));
  // Three quarters of the units gone: half of what it needs is left, less than the bandwidth allows.
  CHECK(speed_beside({0.75, 0.25}, Bound::kMemory, 0.9, terms) == Approx(0.5));
  CHECK(speed_beside({1.0, 1.0}, Bound::kMemory, 0.9, terms) == Approx(kLeastShare / 0.9));
}

TEST_CASE("contention: terms that made slowdowns are found again, and predict rows beside other numbers of units") {
  const ContentionTerms made{.compute_bound = 0.96, .memory_bound = 0.62, .overhead_bound = 0.3};
  const auto rows = rows_of(made, {8, 20, 32, 48, 64, 80});
  const ContentionFitting found = fit_contention(rows, {.overhead_bound = 0.3}, h200(), 5);
  REQUIRE(found.fit);
  CHECK(found.warnings.empty());
  CHECK(found.fit->terms.compute_bound == Approx(0.96).margin(0.0005));
  CHECK(found.fit->terms.memory_bound == Approx(0.62).margin(0.0005));
  CHECK(found.fit->terms.overhead_bound == 0.3);
  CHECK(found.fit->rows == rows.size());
  CHECK(found.fit->unseen_units->n == rows.size());
  CHECK(found.fit->unseen_units->worst < 0.01);
}

TEST_CASE("contention: what measurements do not tell apart is the most that they allow") {
  // With at most 32 of 132 units held, kernels that need 62 % of them are not slowed: anything up to 100/132 would do.
  const auto rows = rows_of({.compute_bound = 1.0, .memory_bound = 0.62}, {8, 20, 32});
  const ContentionFitting found = fit_contention(rows, {}, h200(), 5);
  REQUIRE(found.fit);
  CHECK(found.fit->terms.memory_bound == Approx(100.0 / 132.0).margin(0.001));
}

TEST_CASE("contention: too few numbers of units keep the base's terms, and say so") {
  auto rows = rows_of({.compute_bound = 0.9, .memory_bound = 0.5}, {64, 80, 100});
  std::erase_if(rows, [](const ContentionRow& row) { return row.bound == Bound::kMemory && row.units == 80; });
  const ContentionFitting found = fit_contention(rows, {.memory_bound = 0.7}, h200(), 5);
  REQUIRE(found.fit);
  CHECK(found.fit->terms.memory_bound == 0.7);
  CHECK(found.fit->terms.compute_bound == Approx(0.9).margin(0.0005));
  REQUIRE(found.warnings.size() == 1);
  CHECK(found.warnings[0] ==
        "contention of kernels held back by memory: expected rows beside at least 3 numbers of compute units, found 2: "
        "the base profile's terms stay");
  CHECK_FALSE(fit_contention({}, {}, h200(), 5).fit);
  CHECK(fit_contention({}, {}, h200(), 5).warnings.empty());
}

TEST_CASE("contention: rows that are none are refused by line") {
  const auto fault = [](const std::string& cells) -> std::string {
    const TableFile table =
        TableFile::parse("a.json", "op_name,work,rival,multiprocessors,slowdown,work_gbps_alone,rival_gbps\n" + cells);
    try {
      contention_row(table, 0);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "none";
  };
  CHECK(fault("contention,gemm,spin,20,1.2,700,\n") == "none");
  CHECK(fault("contention,gemm,stream,20,1.2,700,500\n") == "none");
  CHECK(fault("contention,sort,spin,20,1.2,700,\n") ==
        "a.json:2: expected work gemm, prefill_experts, decode_experts or decode_attention, found \"sort\"");
  CHECK(fault("contention,gemm,sleep,20,1.2,700,\n") == "a.json:2: expected rival spin or stream, found \"sleep\"");
  CHECK(fault("contention,gemm,spin,20,-1,700,\n") ==
        "a.json:2: expected a number above 0 in column \"slowdown\", found \"-1\"");
}

}  // namespace
