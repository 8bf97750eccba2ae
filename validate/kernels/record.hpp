#pragma once

#include <string>
#include <vector>

#include "validate/kernels/json_writer.hpp"
#include "validate/kernels/shapes.hpp"
#include "validate/kernels/statistics.hpp"

/// What a run of the program leaves behind: moesim.measurement/1.
namespace moesim::bench {

/// How kernels were put on the device while they were timed.
enum class Path { kGraph, kStream };

struct Timing {
  Summary seconds;  ///< of one launch of the case
  std::size_t samples = 0;
  std::size_t launches_each = 0;  ///< that one sample is the mean of
  Stop stopped = Stop::kTimeLimit;
  Path path = Path::kGraph;
};

/// The best that this GPU was seen to do in this run; 0 where that was not measured.
struct Ceilings {
  double bf16_flops = 0.0;
  double fp8_flops = 0.0;
  double bandwidth = 0.0;  ///< B/s, read and written
};

/// max(flops/F, bytes/B)/time, or 0 where the ceilings are unknown.
double share_of_ceiling(const Needs& needs, NumberType type, double seconds, const Ceilings& ceilings);

/// A row of the table with the columns that name a case: those of aiconfigurator's tables where it has such a kernel
/// (op_name, kernel_source, the types and sizes), so that one reader serves both.
Json row_of(const Shape& shape);
/// The type that a case computes in.
NumberType type_of(const Shape& shape);
/// Adds time, spread and what follows from them.
void add_timing(Json& row, const Timing& timing, const Needs& needs, NumberType type, const Ceilings& ceilings);
/// "12.345 us"
std::string latency_text(double seconds);

/// One case that was timed.
struct Measured {
  Shape shape;
  Timing timing;
  Json extra = Json::object();  ///< what only this kind of case has
  std::string id = {};          ///< of the case
};

/// The ids of all cases that a file written by save() has something to say of: rows, skipped ones, failed ones.
std::vector<std::string> cases_in(std::string_view text);

struct Record {
  Json environment = Json::object();  ///< GPU, driver, clocks, date, commit, seed
  std::string gpu;
  std::string version;
  Ceilings ceilings;
  std::vector<Measured> rows;
  Json skipped = Json::array();  ///< [{case, reason}]
  Json failed = Json::array();   ///< wrong results
  Json clocks = Json::array();   ///< seen after each group

  /// Keeps the measurement, and what it says about the ceilings.
  void add(Measured measured);
  [[nodiscard]] std::string text() const;
  /// Writes beside the file and renames. Throws ConfigError where that is impossible.
  void save(const std::string& name) const;
};

}  // namespace moesim::bench
