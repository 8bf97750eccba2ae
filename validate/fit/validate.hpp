#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "models/kernels/fitted.hpp"
#include "validate/fit/measurements.hpp"

namespace moesim {

/// Which accelerator a table was measured on, and what says so.
struct TableDevice {
  std::string accelerator;  ///< in the catalogue
  std::string said_by;      ///< "--gpu", "the column device", "the folder"
};

/// Looks at `given` (a catalogue name, or "H200" for the first that begins so), else the table's device column, else
/// the folders of its path. std::nullopt where none of them names a known one. Throws ConfigError where `given` is
/// unknown.
std::optional<TableDevice> device_of(const MeasurementTable& table, const std::string& given);

/// The catalogue's fitted profile for an accelerator and a framework: both the same, else the same accelerator, else
/// the same framework, of several that of the accelerator with the most similar memory bandwidth for each compute unit;
/// "roofline" where the catalogue has none.
std::string nearest_profile(const std::string& accelerator, const std::string& framework);

struct OperatorErrors {
  std::string op;
  std::string type;     ///< empty: all types
  std::string variant;  ///< empty: all
  FitErrors errors;
};

struct Validation {
  std::vector<OperatorErrors> operators;  ///< as the table names them
  std::vector<OperatorErrors> parts;      ///< by type and implementation
  std::vector<std::string> warnings;
};

/// Predicts every row on `accelerator`.
Validation validate(const MeasurementTable& table, const KernelProfile& profile, const Accelerator& accelerator);

}  // namespace moesim
