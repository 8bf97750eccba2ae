#pragma once

#include <filesystem>
#include <string>

#include "sim/core/task_pool.hpp"
#include "validate/fit/validate.hpp"

namespace moesim {

struct TableChoice {
  TableFormat format = TableFormat::kAiconfigurator;
  std::string profile = {};  ///< empty: the one fitted for the table's GPU and framework, else the nearest
  std::string gpu = {};      ///< empty: what the table or its folders name, else the profile's
};

/// What was predicted, on what, by what.
struct TableValidation {
  Validation result;
  std::string profile;
  std::string framework;
  TableDevice device;
};

/// A table of kernels or of communication, by its columns: kernels are priced, communication is run. Throws
/// ConfigError.
TableValidation validate_table(const std::filesystem::path& path, const TableChoice& choice, const TaskPool& pool);

/// A profile by name, or a file if the text ends so.
ProfileChoice profile_choice(const std::string& text);

}  // namespace moesim
