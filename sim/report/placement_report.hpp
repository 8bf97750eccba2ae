#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "sim/planning/placement_comparison.hpp"

namespace moesim {

/// Whether wall-clock times are shown, which differ from run to run.
enum class ShowTiming { kNo, kYes };

std::string placement_table(const PlacementComparison& comparison, ShowTiming timing);
Json placement_json(const PlacementComparison& comparison, ShowTiming timing);

/// The rows of one trace, by rising step time.
std::span<const PlacementRow> rows_of_trace(const PlacementComparison& comparison, std::size_t trace);

}  // namespace moesim
