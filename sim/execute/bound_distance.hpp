#pragma once

#include <functional>
#include <optional>

#include "sim/execute/execute.hpp"

namespace moesim {

/// What Fidelity::kBound leaves out of a program: its first stages run without sharing and with it. Where micro-batches
/// take turns, later layers begin before these end; they are left out of both. Empty where nothing is exchanged. Throws
/// as execute() does.
std::optional<Execution::Distance> distance_of_bound(const Program& program,
                                                     const std::function<Execution(const Program&, Fidelity)>& run);

}  // namespace moesim
