#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sim/core/error.hpp"

namespace moesim {

/// One layer of a map as it stands in the file, before it is checked against a model.
struct RawMapLayer {
  Place place;
  std::size_t layer = 0;                           ///< the file's number
  std::vector<std::vector<std::int64_t>> devices;  ///< experts by rank; one list where the file has a flat one
};

/// Reads the assignments of TensorRT-LLM's load balancer: a block mapping of layer → flow list of experts, comments
/// and other keys aside. Throws ConfigError where there is anything else below that key.
std::vector<RawMapLayer> parse_tensorrt_llm_yaml(const std::string& name, std::string_view text);

}  // namespace moesim
