#pragma once

#include "models/architecture/released_types.hpp"
#include "sim/core/error.hpp"
#include "sim/training/training.hpp"

namespace moesim {

/// Throws ConfigError where a type is none that training is known to use for that: integers and 4 bits, whose recipes
/// are not modelled, and sums in types that cannot be added to. `place` is the training's file; types that it leaves
/// open are those of the released model.
void check_types(const Training& training, const ReleasedTypes& released, const Place& place);

}  // namespace moesim
