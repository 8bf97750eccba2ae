#pragma once

#include <string>
#include <vector>

#include "sim/config/decode.hpp"
#include "sim/scenario/metrics.hpp"
#include "sim/scenario/run.hpp"

namespace moesim::test {

/// Runs a scenario given as text, with --set assignments.
inline StepResult run_text(const std::string& text, const std::vector<std::string>& assignments = {}) {
  Document document = Document::parse("scenario", text);
  for (const std::string& assignment : assignments) {
    document.set(assignment);
  }
  return run_step(decode_document<Scenario>(document), {document.name(), {}}, TaskPool(1));
}

inline double step_time(const StepResult& result) { return result.execution.end.duration().base(); }

/// Decode of OLMoE (16 layers, top-8 of 64) on two nodes.
inline constexpr const char* kTwoNodes = R"({"schema": "moesim.scenario/1", "model": "olmoe-1b-7b",
  "cluster": {"catalogue": {"name": "hgx-h200", "nodes": 2}}, "parallelism": {"ranks": 16},
  "step": {"decode": {"sequences_per_dp_rank": 128, "context": 1024}}, "routing": {"uniform": {}}})";

}  // namespace moesim::test
