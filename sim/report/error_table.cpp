#include "sim/report/error_table.hpp"

#include <fmt/format.h>

namespace moesim {

std::string error_heading(std::string_view what) {
  return fmt::format("{:<60}{:>6}{:>9}{:>9}{:>9}{:>9}{:>9}\n", fmt::format("{}: errors, %", what), "n", "MAPE",
                     "median", "p90", "worst", "bias");
}

std::string error_row(std::string_view name, const FitErrors& errors) {
  return fmt::format("{:<60}{:>6}{:>9.1f}{:>9.1f}{:>9.1f}{:>9.1f}{:>+9.1f}\n", name, errors.n, 100 * errors.mape,
                     100 * errors.median, 100 * errors.p90, 100 * errors.worst, 100 * errors.bias);
}

std::string error_row(std::string_view name, const std::optional<FitErrors>& errors) {
  return errors ? error_row(name, *errors) : fmt::format("{:<60}{:>6}\n", name, "unknown");
}

}  // namespace moesim
