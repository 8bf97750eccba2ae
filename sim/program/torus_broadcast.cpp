#include <algorithm>
#include <numeric>
#include <vector>

#include "sim/program/collective_builders.hpp"
#include "sim/program/torus_box.hpp"

namespace moesim {

namespace {

/// One of the trees that a broadcast goes down, from the chip at the origin of a box. The tree of a first side leaves
/// the root along that side only. From the chips that are reached so it spreads along the next side, from all these
/// along the one after, and so on. What then lacks is the layer with the root's place along the first side: each chip
/// there has it from the next in that side, over a link that no other tree uses.
class BroadcastTree {
 public:
  /// `direction` 1: mirrored, all links the other way, which takes rings.
  BroadcastTree(const std::vector<BoxSide>& sides, std::size_t first, std::size_t direction)
      : sides_(sides), direction_(direction) {
    std::rotate(sides_.begin(), sides_.begin() + static_cast<std::ptrdiff_t>(first), sides_.end());
  }

  /// From whom a chip other than the root has its data.
  [[nodiscard]] std::size_t parent(std::size_t rank) const {
    const BoxSide& side = sides_.front();
    if (steps_along(side, rank) == 0) {
      return *side.neighbour(rank, side.edge == TorusEdge::kWrap ? 1 - direction_ : direction_);
    }
    const auto last = std::find_if(sides_.rbegin(), sides_.rend(),
                                   [&](const BoxSide& other) { return steps_along(other, rank) > 0; });
    return *last->neighbour(rank, 1 - direction_);
  }

  /// Links from the root.
  [[nodiscard]] std::size_t depth(std::size_t rank) const {
    std::size_t sum = 0;
    for (const BoxSide& side : sides_) {
      sum += steps_along(side, rank);
    }
    const BoxSide& side = sides_.front();
    const bool layer = sum > 0 && steps_along(side, rank) == 0;
    return sum + (layer ? (side.edge == TorusEdge::kWrap ? side.chips : 2) : 0);
  }

 private:
  [[nodiscard]] std::size_t steps_along(const BoxSide& side, std::size_t rank) const {
    const std::size_t place = side.place(rank);
    return direction_ == 0 ? place : (side.chips - place) % side.chips;
  }

  std::vector<BoxSide> sides_;
  std::size_t direction_;
};

/// Chunks travel down the tree as they come, so that all hops run side by side.
void add_broadcast_tree(Exchange& exchange, const BroadcastTree& tree, std::size_t first, std::size_t size,
                        double bytes) {
  std::vector<std::size_t> order(size);
  std::iota(order.begin(), order.end(), first);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return tree.depth(a) < tree.depth(b); });
  const RankId root(first);
  std::vector<std::uint32_t> arrival(size);
  for (const std::size_t rank : order) {
    if (rank == first) {
      continue;
    }
    const std::size_t from = tree.parent(rank);
    arrival[rank - first] = exchange.add(RankId(from), RankId(rank), bytes, std::span(&root, 1));
    if (from != first) {
      exchange.orders.push_back({arrival[from - first], arrival[rank - first]});
    }
  }
}

}  // namespace

// In equal shares down trees that have no link in common: on a torus of D dimensions 2D of them, which is as many as
// the root has links; with lines among the sides, at whose ends it has one link a side, D.
CollectivePhases torus_broadcast(const CollectiveGroups& groups, double bytes) {
  const std::vector<BoxSide> sides = box_of(groups);
  const bool rings =
      std::all_of(sides.begin(), sides.end(), [](const BoxSide& side) { return side.edge == TorusEdge::kWrap; });
  const std::size_t directions = rings ? 2 : 1;
  const double share = bytes / static_cast<double>(sides.size() * directions);
  Exchange exchange = collective_exchange(StepOperator::kBroadcast, ProfiledCollective::kAllGather, groups);
  for (std::size_t first = 0; first < groups.ranks; first += groups.size) {
    for (std::size_t side = 0; side < sides.size(); ++side) {
      for (std::size_t direction = 0; direction < directions; ++direction) {
        add_broadcast_tree(exchange, BroadcastTree(sides, side, direction), first, groups.size, share);
      }
    }
  }
  return {std::move(exchange)};
}

}  // namespace moesim
