#pragma once

#include <memory>

#include "sim/placement/placement.hpp"

namespace moesim {

std::unique_ptr<PlacementStrategy> make_contiguous();
std::unique_ptr<PlacementStrategy> make_round_robin();
std::unique_ptr<PlacementStrategy> make_random();

}  // namespace moesim
