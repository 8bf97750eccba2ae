#pragma once

#include <memory>

#include "sim/placement/placement.hpp"

namespace moesim {

std::unique_ptr<PlacementStrategy> make_contiguous();
std::unique_ptr<PlacementStrategy> make_round_robin();
std::unique_ptr<PlacementStrategy> make_random();
std::unique_ptr<PlacementStrategy> make_greedy();
std::unique_ptr<PlacementStrategy> make_eplb_global();
std::unique_ptr<PlacementStrategy> make_eplb_hierarchical();
std::unique_ptr<PlacementStrategy> make_eplb_in_place();
std::unique_ptr<PlacementStrategy> make_tensorrt_llm();
std::unique_ptr<PlacementStrategy> make_active_experts();
std::unique_ptr<PlacementStrategy> make_affinity();
std::unique_ptr<PlacementStrategy> make_grace();
std::unique_ptr<PlacementStrategy> make_cross_layer();
std::unique_ptr<PlacementStrategy> make_shadowing();
std::unique_ptr<PlacementStrategy> make_moetuner();
std::unique_ptr<PlacementStrategy> make_search();

}  // namespace moesim
