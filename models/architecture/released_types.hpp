#pragma once

#include <optional>

#include "models/hardware/data_type.hpp"

namespace moesim {

/// The types in which a model's matrices were published, where that is known.
struct ReleasedTypes {
  std::optional<DataType> weights;    ///< attention, dense, shared and routed experts
  std::optional<DataType> experts;    ///< routed experts, where they differ
  std::optional<DataType> attention;  ///< attention and recurrences, where they differ
};

}  // namespace moesim
