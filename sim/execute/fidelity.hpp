#pragma once

#include <array>
#include <string_view>
#include <utility>

#include "sim/config/describe.hpp"

namespace moesim {

/// How closely contention is looked at.
enum class Fidelity {
  kFlow,   ///< every transfer shares every link on its route, max-min fair, from event to event
  kBound,  ///< no sharing: each link by itself works through what is sent over it, and the busiest counts
};
template <>
struct EnumNames<Fidelity> {
  static constexpr auto names =
      std::to_array<std::pair<Fidelity, std::string_view>>({{Fidelity::kFlow, "flow"}, {Fidelity::kBound, "bound"}});
};

}  // namespace moesim
