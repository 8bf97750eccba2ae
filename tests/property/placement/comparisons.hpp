#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "sim/config/decode.hpp"
#include "sim/planning/placement_comparison.hpp"

namespace moesim::test {

inline PlacementComparisonConfig comparison(const std::string& text, const std::vector<std::string>& assignments = {}) {
  Document document = Document::parse("place.json", text);
  for (const std::string& assignment : assignments) {
    document.set(assignment);
  }
  return decode_document<PlacementComparisonConfig>(document);
}

inline const PlacementRow& row_of(const PlacementComparison& result, const std::string& strategy,
                                  const std::string& trace) {
  return *std::find_if(result.rows.begin(), result.rows.end(),
                       [&](const PlacementRow& row) { return row.strategy == strategy && row.trace == trace; });
}

/// Decode of OLMoE (16 layers, top-8 of 64) on two nodes with 16 redundant experts.
inline constexpr const char* kSmall = R"({"schema": "moesim.placement-comparison/1", "model": "olmoe-1b-7b",
  "cluster": {"catalogue": {"name": "hgx-h200", "nodes": 2}}, "parallelism": {"ranks": 16},
  "step": {"decode": {"sequences_per_dp_rank": 64, "context": 1024}}, "redundant_experts": 16,
  "traces": [{"power_law": {"alpha": 1.2}}]})";

}  // namespace moesim::test
