#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/config/document.hpp"
#include "sim/core/quantity.hpp"
#include "sim/scenario/metrics.hpp"

namespace moesim {

/// What every command's "moesim.result/1" begins with; `attribution` is there and empty, tables come after.
struct ResultFrame {
  std::string_view command;
  Json seed;      ///< null where nothing is drawn
  Json scenario;  ///< resolved: every default spelt out
  std::span<const InputFile> inputs;
  std::span<const Metric> metrics;
  std::span<const std::string> warnings;
};
Json result_frame(ResultFrame frame);

/// At most `most` rows {link, bytes, capacity (B/s), utilisation}.
Json links_json(std::span<const LinkUse> uses, std::span<const std::string> names, std::span<const Bandwidth> capacity,
                std::size_t most);

}  // namespace moesim
