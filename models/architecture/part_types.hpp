#pragma once

#include <string>
#include <vector>

#include "models/architecture/architecture.hpp"
#include "models/architecture/module_pattern.hpp"

namespace moesim {

/// Matrices that have one type. Without targets: all of them.
struct QuantizedGroup {
  DataType type = DataType::kBf16;
  std::vector<ModulePattern> targets;
};

struct Quantization {
  std::vector<QuantizedGroup> groups;
  std::vector<ModulePattern> ignored;
  std::vector<std::string> remarks;
};

/// Finds out by the names of a checkpoint's matrices which parts of a model have which type, and sets the
/// architecture's types. Exceptions within a part, and what three types cannot say, are added to its remarks.
void set_part_types(const Quantization& quantization, Architecture& architecture);

}  // namespace moesim
