#pragma once

#include <cstdint>
#include <vector>

namespace moesim {

/// Links that a symmetry of the cluster maps onto each other. The symmetries are those that keep capacities, latencies
/// and routes as they are, and together map every GPU onto every other: under uniform all-to-all traffic all links of
/// an orbit carry the same bytes, and what one GPU sees every GPU sees. A link that no GPU in use needs is in an orbit
/// of its own kind.
struct Orbits {
  std::vector<std::uint32_t> of_link;  ///< by LinkId
  std::uint32_t count = 0;
};

}  // namespace moesim
