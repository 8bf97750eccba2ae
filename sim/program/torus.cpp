#include "topologies/torus.hpp"

#include <span>
#include <vector>

#include "sim/program/collective_builders.hpp"

namespace moesim {

namespace {

/// The dimensions that a group of `size` neighbours fills: the last ones, which count fastest. Those of one chip are
/// left out. Empty where no number of whole dimensions has so many chips.
std::vector<std::size_t> dimensions_of(const Torus& torus, std::size_t size) {
  std::vector<std::size_t> dimensions;
  std::size_t chips = 1;
  for (std::size_t d = torus.shape.size(); d-- > 0 && chips < size;) {
    chips *= torus.shape[d];
    if (torus.shape[d] > 1) {
      dimensions.push_back(d);
    }
  }
  return chips == size ? dimensions : std::vector<std::size_t>{};
}

const Torus& torus_of(const CollectiveGroups& groups) { return *groups.cluster->config().scale_up.torus; }

enum class Way { kReduce, kGather };

/// Who sends what along one dimension of n chips, all rings and lines of it side by side. `bytes`: what a chip holds
/// before it is reduced to its n-th part, or after all parts are gathered.
class Dimension {
 public:
  Dimension(const Torus& torus, std::size_t dimension)
      : torus_(torus),
        dimension_(dimension),
        chips_(torus.shape[dimension]),
        wraps_(torus_edges(torus)[dimension] == TorusEdge::kWrap) {
    for (std::size_t d = dimension + 1; d < torus.shape.size(); ++d) {
      stride_ *= torus.shape[d];
    }
  }

  void add(Exchange& exchange, std::size_t ranks, double bytes, Way way) const {
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      const std::vector<RankId> line = line_of(rank);
      for (const std::size_t direction : {0, 1}) {
        const auto to = torus_neighbour(torus_, rank, dimension_, direction);
        const double parts = to ? parts_sent(rank / stride_ % chips_, direction, way) : 0.0;
        if (parts > 0.0) {
          const std::uint32_t transfer =
              exchange.add(RankId(rank), RankId(*to), bytes * parts / static_cast<double>(chips_), line);
          exchange.transfers[transfer].steps = static_cast<std::uint32_t>(chips_ - 1);
        }
      }
    }
  }

 private:
  /// Of n: round a ring, half of what there is goes each way; on a line, a chip sends on what is bound for those beyond
  /// it, or what comes from those behind it and its own.
  [[nodiscard]] double parts_sent(std::size_t place, std::size_t direction, Way way) const {
    if (wraps_) {
      return static_cast<double>(chips_ - 1) / 2.0;
    }
    const std::size_t beyond = direction == 0 ? chips_ - 1 - place : place;
    return static_cast<double>(way == Way::kReduce ? beyond : chips_ - beyond);
  }

  [[nodiscard]] std::vector<RankId> line_of(std::size_t rank) const {
    const std::size_t first = rank - rank / stride_ % chips_ * stride_;
    std::vector<RankId> line;
    for (std::size_t place = 0; place < chips_; ++place) {
      line.emplace_back(first + place * stride_);
    }
    return line;
  }

  const Torus& torus_;
  std::size_t dimension_;
  std::size_t chips_;
  bool wraps_;
  std::size_t stride_ = 1;
};

/// Data in as many equal shares as there are dimensions, each of which takes the dimensions in another order, so that
/// at any time all links are at work: share c is reduced along dimension c, then what is left of it along c + 1, and so
/// on; gathered in the reverse order. (Jain, Sabharwal: "Optimal bucket algorithms for large MPI collectives on torus
/// interconnects", ICS 2010.)
class BucketAlgorithm {
 public:
  BucketAlgorithm(StepOperator op, ProfiledCollective profiled, const CollectiveGroups& groups, double bytes)
      : op_(op),
        profiled_(profiled),
        groups_(groups),
        torus_(torus_of(groups)),
        dimensions_(dimensions_of(torus_, groups.size)),
        bytes_(bytes) {}

  void add(Way way) {
    const std::size_t count = dimensions_.size();
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t phase = way == Way::kReduce ? i : count - 1 - i;
      Exchange exchange = collective_exchange(op_, profiled_, groups_);
      if (phases_.empty()) {
        exchange.local_bytes = op_ == StepOperator::kAllReduce ? bytes_ : bytes_ / static_cast<double>(groups_.size);
      } else {
        exchange.start = ExchangeStart::kContinue;
      }
      for (std::size_t share = 0; share < count; ++share) {
        double held = bytes_ / static_cast<double>(count);
        for (std::size_t before = 0; before < phase; ++before) {
          held /= static_cast<double>(torus_.shape[dimensions_[(share + before) % count]]);
        }
        Dimension(torus_, dimensions_[(share + phase) % count]).add(exchange, groups_.ranks, held, way);
      }
      phases_.emplace_back(std::move(exchange));
    }
  }

  CollectivePhases take() { return std::move(phases_); }

 private:
  StepOperator op_;
  ProfiledCollective profiled_;
  const CollectiveGroups& groups_;
  const Torus& torus_;
  std::vector<std::size_t> dimensions_;
  double bytes_;
  CollectivePhases phases_;
};

}  // namespace

std::string_view not_whole_dimensions(const CollectiveGroups& groups) {
  const ScaleUp& fabric = groups.cluster->config().scale_up;
  if (fabric.kind != ScaleUpKind::kTorus) {
    return "it needs a torus";
  }
  if (groups.ranks > groups.cluster->gpus_per_node() || dimensions_of(*fabric.torus, groups.size).empty()) {
    return "it needs whole dimensions of one torus, the last ones";
  }
  return {};
}

CollectivePhases torus_all_reduce(const CollectiveGroups& groups, double bytes) {
  BucketAlgorithm algorithm(StepOperator::kAllReduce, ProfiledCollective::kAllReduce, groups, bytes);
  algorithm.add(Way::kReduce);
  algorithm.add(Way::kGather);
  return algorithm.take();
}
CollectivePhases torus_reduce_scatter(const CollectiveGroups& groups, double bytes) {
  BucketAlgorithm algorithm(StepOperator::kReduceScatter, ProfiledCollective::kReduceScatter, groups, bytes);
  algorithm.add(Way::kReduce);
  return algorithm.take();
}
CollectivePhases torus_all_gather(const CollectiveGroups& groups, double bytes) {
  BucketAlgorithm algorithm(StepOperator::kAllGather, ProfiledCollective::kAllGather, groups, bytes);
  algorithm.add(Way::kGather);
  return algorithm.take();
}

}  // namespace moesim
