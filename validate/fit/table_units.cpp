#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "sim/core/error.hpp"
#include "sim/core/units.hpp"
#include "validate/fit/measurements.hpp"

namespace moesim {

void check_units(const MeasurementTable& table, const Accelerator& accelerator) {
  constexpr double kFastest = 0.05;
  constexpr double kSlowest = 2000.0;
  constexpr double kFromOthers = 500.0;  // a thousand is a unit; rows of the public tables are up to 285 times off
  const Duration start = seconds(3e-6);  // no kernel is much shorter
  std::vector<Duration> lights;
  std::vector<double> ratios;
  std::map<std::tuple<FitFamily, DataType, std::string_view>, std::vector<double>> kinds;
  const auto kind_of = [](const Measurement& m) {
    const auto [family, type] = family_of(m.kernel);
    return std::tuple(family, type, std::string_view(m.variant));
  };
  for (const Measurement& m : table.rows) {
    lights.push_back(fit_query(m.kernel, accelerator).light());
    ratios.push_back(m.time / (lights.back() + start));
    kinds[kind_of(m)].push_back(ratios.back());
  }
  for (auto& [kind, all] : kinds) {
    std::nth_element(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2), all.end());
  }
  std::vector<Diagnostic> faults;
  for (std::size_t i = 0; i < table.rows.size(); ++i) {
    const Measurement& m = table.rows[i];
    const std::vector<double>& all = kinds.at(kind_of(m));
    const double from_others = ratios[i] / all[all.size() / 2];
    const Place place{fmt::format("{}:{}", table.file, m.row + 2), ""};
    if (m.time < kFastest * lights[i] || ratios[i] > kSlowest) {
      faults.push_back({place, fmt::format("expected a latency in the table's unit, found {} where {} at its peaks "
                                           "needs {}",
                                           to_text(m.time), accelerator.name, to_text(lights[i]))});
    } else if (from_others > kFromOthers || from_others < 1.0 / kFromOthers) {
      faults.push_back(
          {place, fmt::format("expected a latency in the unit of the others, found {}: against the time at "
                              "peak rates {:.0f} times {} than theirs",
                              to_text(m.time), from_others > 1.0 ? from_others : 1.0 / from_others,
                              from_others > 1.0 ? "longer" : "shorter")});
    }
    constexpr std::size_t kMost = 20;
    if (faults.size() == kMost) {
      break;
    }
  }
  for (const ContentionRow& row : table.contention) {
    const Place place{fmt::format("{}:{}", table.file, row.row + 2), ""};
    if (row.units >= accelerator.compute_units) {
      faults.push_back({place, fmt::format("expected fewer multiprocessors than the {} of {}, found {}",
                                           accelerator.compute_units, accelerator.name, row.units)});
    }
    for (const double rate : {row.work_rate, row.rival_rate}) {
      if (rate >= accelerator.memory_bandwidth.base()) {
        faults.push_back(
            {place, fmt::format("expected less than the {} of {}, found {}", to_text(accelerator.memory_bandwidth),
                                accelerator.name, to_text(bytes_per_second(rate)))});
      }
    }
  }
  if (!faults.empty()) {
    throw ConfigError(std::move(faults));
  }
}

}  // namespace moesim
