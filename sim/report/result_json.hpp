#pragma once

#include <string_view>

#include "sim/config/document.hpp"
#include "sim/scenario/metrics.hpp"

namespace moesim {

/// The result as one JSON document, "moesim.result/1".
Json step_result_json(const StepResult& result, std::string_view command);

}  // namespace moesim
