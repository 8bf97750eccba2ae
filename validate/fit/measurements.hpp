#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/kernels/fit_query.hpp"
#include "sim/core/quantity.hpp"
#include "validate/fit/contention_fit.hpp"
#include "validate/fit/table_file.hpp"

namespace moesim {

/// One measured kernel.
struct Measurement {
  FittableKernel kernel;
  std::string op;       ///< as the table calls it
  std::string variant;  ///< implementation and types
  std::string shape;    ///< what rows of one shape share, whatever their size
  std::string size;     ///< what sets them apart
  Duration time;
  std::size_t row = 0;
};

enum class TableFormat { kAiconfigurator, kMoesim };
template <>
struct EnumNames<TableFormat> {
  static constexpr auto names = std::to_array<std::pair<TableFormat, std::string_view>>(
      {{TableFormat::kAiconfigurator, "aiconfigurator"}, {TableFormat::kMoesim, "moesim"}});
};

struct MeasurementTable {
  std::string file;
  std::string device = {};  ///< as the table calls it
  std::string framework = {};
  std::string version = {};
  std::vector<Measurement> rows = {};
  std::vector<ContentionRow> contention = {};  ///< kernels beside another; of our own measurements
  std::size_t skipped = 0;
  std::vector<std::string> warnings = {};  ///< what was skipped, and why
};

/// Reads a table of kernel latencies: aiconfigurator's CSV (latency in ms, plain or gzipped), or our own JSON
/// (moesim.measurement/1: the same columns by row, latency with its unit; experts' rows of distribution "recorded" give
/// the tokens of each expert in expert_rows; kernels beside another are rows of contention). Rows of operators that are
/// not known are skipped with a warning that counts them. Throws ConfigError: a column that is missing, a cell that is
/// no number, a latency that is not above zero, latencies in several units; by line.
MeasurementTable read_measurements(const std::filesystem::path& path, TableFormat format);

/// Throws ConfigError where a latency cannot be in the unit that the table's others are in: faster than a twentieth of
/// the time at the accelerator's peaks, or slower than two thousand times that, or 500 times off what rows of its kind
/// take against that; and where one kernel leaves another no compute unit, or either has more than the HBM's bandwidth.
void check_units(const MeasurementTable& table, const Accelerator& accelerator);

}  // namespace moesim
