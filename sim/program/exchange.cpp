#include <span>

#include "sim/program/program.hpp"

namespace moesim {

std::uint32_t Exchange::add(RankId from, RankId to, double bytes, std::span<const RankId> starting_ranks) {
  transfers.push_back({from, to, bytes, static_cast<std::uint32_t>(starters.size()),
                       static_cast<std::uint32_t>(starting_ranks.size())});
  starters.insert(starters.end(), starting_ranks.begin(), starting_ranks.end());
  return static_cast<std::uint32_t>(transfers.size() - 1);
}

}  // namespace moesim
