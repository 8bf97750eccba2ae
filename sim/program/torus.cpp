#include <cmath>
#include <vector>

#include "sim/program/collective_builders.hpp"
#include "sim/program/torus_box.hpp"

namespace moesim {

namespace {

enum class Way { kReduce, kGather, kExchange };

/// How many parts a chip hands to its neighbour, of the n in which a row of n chips holds its data. Round a ring half
/// of what there is goes each way: n − 1 parts to reduce or gather; where all send to all, each part goes the short
/// way, over n/4 links on average (n²/8 each way, (n²−1)/8 for an odd n: jax-ml/scaling-book sharding.md, question 10).
/// On a line a chip sends on what is bound for those beyond it, or what comes from those behind it and its own, or what
/// is sent from these to those.
double parts_sent(const BoxSide& side, std::size_t place, std::size_t direction, Way way) {
  const auto n = static_cast<double>(side.chips);
  if (side.edge == TorusEdge::kWrap) {
    return way == Way::kExchange ? std::floor(n * n / 4.0) / 2.0 : (n - 1.0) / 2.0;
  }
  const auto beyond = static_cast<double>(direction == 0 ? side.chips - 1 - place : place);
  const double behind = n - beyond;
  return way == Way::kReduce ? beyond : way == Way::kGather ? behind : beyond * behind;
}

/// Who sends what along one side of the boxes, all rings and lines of it at once. `bytes`: what a chip holds before it
/// is reduced to its n-th part, or after all parts are gathered, or always.
void add_side(Exchange& exchange, const BoxSide& side, std::size_t ranks, double bytes, Way way) {
  const std::size_t farthest = side.edge == TorusEdge::kWrap ? side.chips / 2 : side.chips - 1;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    const std::vector<RankId> row = side.row_of(rank);
    for (const std::size_t direction : {0, 1}) {
      if (const auto to = side.neighbour(rank, direction)) {
        const double parts = parts_sent(side, side.place(rank), direction, way);
        const std::uint32_t transfer =
            exchange.add(RankId(rank), RankId(*to), bytes * parts / static_cast<double>(side.chips), row);
        exchange.transfers[transfer].steps = static_cast<std::uint32_t>(farthest);
      }
    }
  }
}

/// Data in as many equal shares as there are sides, each of which takes the sides in another order, so that at any time
/// all links are at work: share c is reduced along side c, then what is left of it along c + 1, and so on; gathered in
/// the reverse order. (Jain, Sabharwal: "Optimal bucket algorithms for large MPI collectives on torus interconnects",
/// ICS 2010.) Where all send to all, what a chip has for all chips that have one place along a side goes there
/// together, and from there along the next side (Suh, Shin: "All-to-all personalized communication in multidimensional
/// torus and mesh networks", IEEE TPDS 2001).
class ByDimension {
 public:
  ByDimension(StepOperator op, ProfiledCollective profiled, const CollectiveGroups& groups, double bytes)
      : op_(op), profiled_(profiled), groups_(groups), sides_(box_of(groups)), bytes_(bytes) {}

  void add(Way way) {
    const std::size_t count = sides_.size();
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t phase = way == Way::kGather ? count - 1 - i : i;
      Exchange exchange = collective_exchange(op_, profiled_, groups_);
      if (phases_.empty()) {
        exchange.local_bytes = op_ == StepOperator::kAllReduce ? bytes_ : bytes_ / static_cast<double>(groups_.size);
      } else {
        exchange.start = ExchangeStart::kContinue;
      }
      for (std::size_t share = 0; share < count; ++share) {
        double held = bytes_ / static_cast<double>(count);
        for (std::size_t before = 0; before < phase && way != Way::kExchange; ++before) {
          held /= static_cast<double>(sides_[(share + before) % count].chips);
        }
        add_side(exchange, sides_[(share + phase) % count], groups_.ranks, held, way);
      }
      phases_.emplace_back(std::move(exchange));
    }
  }

  CollectivePhases take() { return std::move(phases_); }

 private:
  StepOperator op_;
  ProfiledCollective profiled_;
  const CollectiveGroups& groups_;
  std::vector<BoxSide> sides_;
  double bytes_;
  CollectivePhases phases_;
};

/// What is reduced and gathered passes each port once, so that the links are as busy as in one exchange of all of it.
/// What all send to all is sent on along each dimension anew.
CollectivePhases in_one(CollectivePhases phases, const CollectiveGroups& groups) {
  tell_port_bytes(phases, groups.ranks);
  return phases;
}

}  // namespace

CollectivePhases torus_all_reduce(const CollectiveGroups& groups, double bytes) {
  ByDimension algorithm(StepOperator::kAllReduce, ProfiledCollective::kAllReduce, groups, bytes);
  algorithm.add(Way::kReduce);
  algorithm.add(Way::kGather);
  return in_one(algorithm.take(), groups);
}
CollectivePhases torus_reduce_scatter(const CollectiveGroups& groups, double bytes) {
  ByDimension algorithm(StepOperator::kReduceScatter, ProfiledCollective::kReduceScatter, groups, bytes);
  algorithm.add(Way::kReduce);
  return in_one(algorithm.take(), groups);
}
CollectivePhases torus_all_gather(const CollectiveGroups& groups, double bytes) {
  ByDimension algorithm(StepOperator::kAllGather, ProfiledCollective::kAllGather, groups, bytes);
  algorithm.add(Way::kGather);
  return in_one(algorithm.take(), groups);
}
CollectivePhases torus_all_to_all(const CollectiveGroups& groups, double bytes) {
  ByDimension algorithm(StepOperator::kAllToAll, ProfiledCollective::kAllToAll, groups, bytes);
  algorithm.add(Way::kExchange);
  return algorithm.take();
}

}  // namespace moesim
