#include "sim/fluid/coupling.hpp"

#include <algorithm>

#include "sim/core/error.hpp"

namespace moesim::fluid {
namespace {

bool before(const RowBlock& row_block, std::uint32_t block) { return row_block.block < block; }

}  // namespace

RowBlock& Coupling::block(std::uint32_t link, std::uint32_t other) {
  std::vector<RowBlock>& row = rows_[link];
  const auto wanted = static_cast<std::uint32_t>(other / kBlock);
  auto found = std::lower_bound(row.begin(), row.end(), wanted, before);
  if (found == row.end() || found->block != wanted) {
    const auto storage = static_cast<std::uint32_t>(weights_.size() / kBlock);
    found = row.insert(found, RowBlock{.block = wanted, .storage = storage});
    weights_.resize(weights_.size() + kBlock, 0.0);
    pairs_.resize(pairs_.size() + kBlock);
  }
  return *found;
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
  const std::vector<RowBlock>& row = rows_[owner];
  const auto wanted = static_cast<std::uint32_t>(link / kBlock);
  const auto found = std::lower_bound(row.begin(), row.end(), wanted, before);
  if (found == row.end() || found->block != wanted) {
    return {};
  }
  return pairs_[kBlock * found->storage + link % kBlock];
}

}  // namespace moesim::fluid
