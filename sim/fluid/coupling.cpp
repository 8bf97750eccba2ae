#include "sim/fluid/coupling.hpp"

#include "sim/core/error.hpp"

namespace moesim::fluid {
RowBlock& Coupling::block(std::uint32_t link, std::uint32_t other) {
  Row& row = rows_[link];
  const auto wanted = static_cast<std::uint32_t>(other / kBlock);
  if (wanted >= row.place.size()) {
    row.place.resize(wanted + 1, 0);
  }
  std::uint32_t& place = row.place[wanted];
  if (place == 0) {
    row.blocks.push_back({.block = wanted, .storage = static_cast<std::uint32_t>(weights_.size() / kBlock)});
    place = static_cast<std::uint32_t>(row.blocks.size());
    weights_.resize(weights_.size() + kBlock, 0.0);
    pairs_.resize(pairs_.size() + kBlock);
  }
  return row.blocks[place - 1];
}

void Coupling::attach(std::uint32_t owner, std::uint32_t link, Pair flows, double claim) {
  RowBlock& mine = block(owner, link);
  const std::size_t slot = kBlock * mine.storage + link % kBlock;
  weights_[slot] += claim;
  if (mine.owned == 0) {
    mine.uniform = claim;
  } else if (mine.uniform != weights_[slot]) {
    mine.uniform = 0.0;
  }
  pairs_[slot].flows ^= flows.flows;
  pairs_[slot].count += flows.count;
  if (pairs_[slot].count == flows.count) {
    mine.owned |= bit_of(link);
    block(link, owner).owning |= bit_of(owner);
  }
}

void Coupling::detach(std::uint32_t owner, std::uint32_t link, Pair flows, double claim) {
  RowBlock& mine = block(owner, link);
  const std::size_t slot = kBlock * mine.storage + link % kBlock;
  ensure(pairs_[slot].count >= flows.count, "a pair of links loses flows that it does not have");
  pairs_[slot].flows ^= flows.flows;
  pairs_[slot].count -= flows.count;
  if (pairs_[slot].count == 0) {
    weights_[slot] = 0.0;  // exactly, whatever rounding left
    mine.owned &= ~bit_of(link);
    block(link, owner).owning &= ~bit_of(owner);
  } else {
    weights_[slot] -= claim;
    mine.uniform = 0.0;
  }
}

Coupling::Pair Coupling::pair(std::uint32_t owner, std::uint32_t link) const {
  const Row& row = rows_[owner];
  const std::size_t wanted = link / kBlock;
  if (wanted >= row.place.size() || row.place[wanted] == 0) {
    return {};
  }
  return pairs_[kBlock * row.blocks[row.place[wanted] - 1].storage + link % kBlock];
}

}  // namespace moesim::fluid
