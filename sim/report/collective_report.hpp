#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sim/config/document.hpp"
#include "sim/core/quantity.hpp"
#include "sim/scenario/collective.hpp"
#include "sim/scenario/metrics.hpp"

namespace moesim {

/// The figures of a collective, in the order in which they are printed.
std::vector<Metric> collective_metrics(const CollectiveResult& result);

/// Parts of the time, which add up to it.
struct TimePart {
  std::string_view name;
  Duration time;
  std::string_view definition;
};
std::vector<TimePart> collective_parts(const CollectiveResult& result);

/// The result as one JSON document, "moesim.result/1".
Json collective_json(const CollectiveResult& result, std::string_view command);

/// The result as a page of text that a person reads in ten seconds.
std::string collective_table(const CollectiveResult& result);

}  // namespace moesim
