#pragma once

#include <array>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "sim/config/describe.hpp"
#include "sim/placement/placement.hpp"

/// Maps of experts to slots, as serving systems write them.
namespace moesim {

enum class ExpertMapFormat {
  kSglang,       ///< JSON {"physical_to_logical_map": [layers][slots]}; dense layers have a row too
  kTensorRtLlm,  ///< YAML num_slots, layer_updates_per_iter, initial_global_assignments: {layer: [expert per slot]}
  kVllmAscend,   ///< JSON {"moe_layer_count", "layer_list": [{"layer_id", "device_count", "device_list": [...]}]}
  kEplb,         ///< JSON {"phy2log": [layers][slots], "log2phy": [layers][experts][copies], "logcnt"}
};
template <>
struct EnumNames<ExpertMapFormat> {
  static constexpr auto names =
      std::to_array<std::pair<ExpertMapFormat, std::string_view>>({{ExpertMapFormat::kSglang, "sglang"},
                                                                   {ExpertMapFormat::kTensorRtLlm, "tensorrt-llm"},
                                                                   {ExpertMapFormat::kVllmAscend, "vllm-ascend"},
                                                                   {ExpertMapFormat::kEplb, "eplb"}});
};

/// The file's text for a placement whose ranks have equally many slots. `problem` says which layers of the model the
/// placement's are.
std::string write_expert_map(const Placement& placement, const PlacementProblem& problem, ExpertMapFormat format);

/// Reads a map of any of these kinds, which its keys tell. Throws ConfigError: none of these kinds, other layers, ranks
/// that do not divide the slots, an expert that there is not, an expert without a slot.
Placement read_expert_map(const std::filesystem::path& path, const PlacementProblem& problem);

}  // namespace moesim
