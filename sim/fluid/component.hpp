#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace moesim::fluid {

/// What some of all flows share, without the resources that cannot bind. All flows of a link have the same weight on
/// it, which its capacity is divided by: weights are 1.
struct Component {
  std::vector<std::uint32_t> flows;  ///< in the table of all
  std::vector<double> amount;        ///< [flows], > 0
  std::vector<double> capacity;      ///< [links]
  std::vector<std::uint32_t> links;  ///< of the flows, one after the other
  std::vector<std::size_t> first;    ///< [flows + 1], in `links`
  [[nodiscard]] std::span<const std::uint32_t> links_of(std::size_t flow) const {
    return std::span(links).subspan(first[flow], first[flow + 1] - first[flow]);
  }
};

}  // namespace moesim::fluid
