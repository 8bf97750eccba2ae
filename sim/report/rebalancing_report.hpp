#pragma once

#include <string>
#include <string_view>

#include "sim/config/document.hpp"
#include "sim/planning/placement_comparison.hpp"

namespace moesim {

/// The strategies of `comparison.config.rebalance` on one trace.
std::string rebalancing_table(const PlacementComparison& comparison, std::string_view trace);
/// What its columns mean.
std::string_view rebalancing_notes();
/// One entry for each strategy and trace.
Json rebalancing_json(const PlacementComparison& comparison);

}  // namespace moesim
