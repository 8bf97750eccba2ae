#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "models/kernels/fit_errors.hpp"

/// How far predictions are off, as rows of a table.
namespace moesim {

/// The heading of such a table; `what` stands above the names.
std::string error_heading(std::string_view what);

/// One row in percent: n, mean, median, 90th percentile and worst of |error|, and the mean error.
std::string error_row(std::string_view name, const FitErrors& errors);
/// "unknown" where nothing was held back.
std::string error_row(std::string_view name, const std::optional<FitErrors>& errors);

}  // namespace moesim
