#include "validate/fit/contention_fit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>

#include "sim/config/describe.hpp"
#include "sim/core/error.hpp"
#include "validate/fit/calibrate.hpp"
#include "validate/fit/table_row.hpp"

namespace moesim {

namespace {

constexpr std::size_t kLeastCounts = 3;

/// What holds the works of the measuring plan back: large products, and reading weights or caches.
Bound bound_of(std::string_view work, const Place& place) {
  if (work == "gemm" || work == "prefill_experts") {
    return Bound::kCompute;
  }
  if (work == "decode_experts" || work == "decode_attention") {
    return Bound::kMemory;
  }
  throw ConfigError(place, fmt::format("expected work gemm, prefill_experts, decode_experts or decode_attention, found "
                                       "\"{}\"",
                                       work));
}

double& term_of(ContentionTerms& terms, Bound bound) {
  return bound == Bound::kCompute ? terms.compute_bound : terms.memory_bound;
}

/// The share of the compute units, of 1/1000 … 1, with the least sum of squared errors; the largest of several.
double best_share(std::span<const ContentionRow> rows, Bound bound, const Accelerator& accelerator) {
  constexpr int kSteps = 1000;
  double best = 1.0;
  double least = std::numeric_limits<double>::infinity();
  for (int step = kSteps; step > 0; --step) {
    ContentionTerms terms;
    term_of(terms, bound) = static_cast<double>(step) / kSteps;
    double sum = 0.0;
    for (const ContentionRow& row : rows) {
      const double error = contention_error(terms, row, accelerator);
      sum += error * error;
    }
    if (sum < least) {
      least = sum;
      best = term_of(terms, bound);
    }
  }
  return best;
}

std::vector<double> errors_held_back(std::span<const ContentionRow> rows, const std::set<std::int64_t>& counts,
                                     Bound bound, const Accelerator& accelerator, std::size_t folds) {
  std::vector<double> errors;
  for (std::size_t fold = 0; fold < std::min(folds, counts.size()); ++fold) {
    std::vector<ContentionRow> seen;
    std::vector<ContentionRow> unseen;
    for (const ContentionRow& row : rows) {
      const auto index = static_cast<std::size_t>(std::distance(counts.begin(), counts.find(row.units)));
      (index % folds == fold ? unseen : seen).push_back(row);
    }
    ContentionTerms terms;
    term_of(terms, bound) = best_share(seen, bound, accelerator);
    for (const ContentionRow& row : unseen) {
      errors.push_back(contention_error(terms, row, accelerator));
    }
  }
  return errors;
}

}  // namespace

ContentionRow contention_row(const TableFile& table, std::size_t row) {
  const TableRow cells(table, row);
  ContentionRow out;
  out.row = row;
  out.bound = bound_of(cells.text("work"), table.place(row));
  out.units = cells.count("multiprocessors");
  out.slowdown = cells.number("slowdown");
  out.work_rate = cells.number("work_gbps_alone") * 1e9;
  const std::string_view rival = cells.text("rival");
  if (rival == "stream") {
    out.rival_rate = cells.amount("rival_gbps") * 1e9;
  } else if (rival != "spin") {
    throw ConfigError(table.place(row), fmt::format("expected rival spin or stream, found \"{}\"", rival));
  }
  return out;
}

double contention_error(const ContentionTerms& terms, const ContentionRow& row, const Accelerator& accelerator) {
  const double bandwidth = accelerator.memory_bandwidth.base();
  const HeldShare held{static_cast<double>(row.units) / accelerator.compute_units, row.rival_rate / bandwidth};
  return 1.0 / speed_beside(held, row.bound, row.work_rate / bandwidth, terms) / row.slowdown - 1.0;
}

ContentionFitting fit_contention(std::span<const ContentionRow> rows, const ContentionTerms& base,
                                 const Accelerator& accelerator, std::size_t folds) {
  ContentionFitting out;
  ContentionFit fit;
  fit.terms = base;
  std::vector<double> errors;
  for (const Bound bound : {Bound::kCompute, Bound::kMemory}) {
    std::vector<ContentionRow> own;
    std::set<std::int64_t> counts;
    for (const ContentionRow& row : rows) {
      if (row.bound == bound) {
        own.push_back(row);
        counts.insert(row.units);
      }
    }
    if (counts.size() < kLeastCounts) {
      if (!rows.empty()) {
        out.warnings.push_back(
            fmt::format("contention of kernels held back by {}: expected rows beside at least {} numbers of compute "
                        "units, found {}: the base profile's terms stay",
                        name_of(bound), kLeastCounts, counts.size()));
      }
      continue;
    }
    fit.rows += own.size();
    term_of(fit.terms, bound) = best_share(own, bound, accelerator);
    for (const double error : errors_held_back(own, counts, bound, accelerator, folds)) {
      errors.push_back(error);
    }
  }
  if (fit.rows > 0) {
    fit.unseen_units = errors_of(std::move(errors));
    out.fit = std::move(fit);
  }
  return out;
}

}  // namespace moesim
