#include "models/kernels/communication.hpp"

#include <algorithm>
#include <cmath>

#include "sim/core/error.hpp"

namespace moesim {

double port_efficiency(const std::vector<PortEfficiency>& points, double bytes) {
  ensure(!points.empty(), "a checked profile has points");
  const auto above = std::find_if(points.begin(), points.end(),
                                  [&](const PortEfficiency& point) { return point.bytes.base() >= bytes; });
  if (above == points.begin()) {
    return points.front().efficiency;
  }
  if (above == points.end()) {
    return points.back().efficiency;
  }
  const PortEfficiency& below = *(above - 1);
  const double share = std::log(bytes / below.bytes.base()) / std::log(above->bytes / below.bytes);
  return below.efficiency * std::pow(above->efficiency / below.efficiency, share);
}

DomainCost domain_cost(const std::vector<DomainTerms>& terms, double ranks, double bytes) {
  ensure(!terms.empty(), "a checked profile has terms");
  const auto cost = [&](const DomainTerms& of) {
    return DomainCost{of.overhead, of.path_share, port_efficiency(of.efficiency, bytes)};
  };
  const auto above =
      std::find_if(terms.begin(), terms.end(), [&](const DomainTerms& entry) { return entry.ranks >= ranks; });
  if (above == terms.begin() || above == terms.end()) {
    return cost(above == terms.end() ? terms.back() : *above);
  }
  const DomainTerms& below = *(above - 1);
  const DomainCost low = cost(below);
  const DomainCost high = cost(*above);
  const double share = std::log(ranks / below.ranks) / std::log(static_cast<double>(above->ranks) / below.ranks);
  return {low.overhead + (high.overhead - low.overhead) * share,
          low.path_share + (high.path_share - low.path_share) * share,
          low.efficiency * std::pow(high.efficiency / low.efficiency, share)};
}

}  // namespace moesim
