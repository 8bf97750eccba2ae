#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/fluid/known_flows.hpp"

namespace moesim::fluid {

/// [resources]: 1 where the resource can bind; 0 where the others that its flows use never let it carry more than its
/// capacity (Cover), or where nothing uses it. Every flow uses one that can bind.
std::vector<char> binding_resources(std::span<const double> capacities, std::span<const KnownFlow> flows);

}  // namespace moesim::fluid
