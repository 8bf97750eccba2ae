#include <algorithm>
#include <array>
#include <cstddef>
#include <deque>

#include "sim/core/error.hpp"
#include "sim/training/schedule_orders.hpp"

/// DualPipe's schedule, in the eight steps of deepseek-ai/DualPipe (README; dualpipe/dualpipe.py, dualpipev.py at
/// bb214e82).
namespace moesim {

namespace {

/// Way 0 is the one whose first stages are here or near, way 1 the one whose last are.
class DualPipeRank {
 public:
  /// A way's stage on this rank, and its first micro-batch.
  struct Way {
    std::size_t stage = 0;
    std::size_t first_micro_batch = 0;
  };

  /// `depth`: stages of a way up to its middle; `place`: 0 at the ends … depth−1 in the middle; `micro_batches`: of
  /// each way.
  DualPipeRank(std::size_t depth, std::size_t place, std::size_t micro_batches, std::array<Way, 2> ways)
      : depth_(depth), place_(place), micro_batches_(micro_batches), ways_(ways) {}

  std::vector<ScheduleItem> order() {
    fill();
    steady();
    drain();
    ensure(put_off_.empty(), "weight gradients are left over");
    return std::move(order_);
  }

 private:
  [[nodiscard]] bool in_middle() const { return place_ + 1 == depth_; }
  StageVisit next(std::size_t way, std::array<std::size_t, 2>& count) {
    return {static_cast<std::uint32_t>(ways_[way].stage),
            static_cast<std::uint32_t>(ways_[way].first_micro_batch + count[way]++)};
  }
  void forward(std::size_t way) { order_.push_back({Pass::kForward, next(way, forwards_)}); }
  void backward(std::size_t way) { order_.push_back({Pass::kBackward, next(way, backwards_)}); }
  void backward_input(std::size_t way) {
    order_.push_back({Pass::kBackwardInput, next(way, backwards_)});
    put_off_.push_back(order_.back().visit);
  }
  void backward_weight() {
    order_.push_back({Pass::kBackwardWeight, put_off_.front()});
    put_off_.pop_front();
  }
  void both(std::size_t forward_way, std::size_t backward_way) {
    const StageVisit ahead = next(forward_way, forwards_);
    order_.push_back({Pass::kForwardBackward, ahead, next(backward_way, backwards_)});
  }

  /// Steps 1 to 3.
  void fill() {
    const std::size_t behind = depth_ - place_ - 1;
    for (std::size_t i = 0; i < 2 * behind; ++i) {
      forward(0);
    }
    for (std::size_t i = 0; i < place_ + 1; ++i) {
      forward(0);
      forward(1);
    }
    for (std::size_t i = 0; i < behind; ++i) {
      backward_input(1);
      backward_weight();
      forward(1);
    }
  }
  /// Step 4. In the middle the first two are not side by side, which makes the bubble smaller.
  void steady() {
    for (std::size_t i = 0; i < micro_batches_ - 2 * depth_ + place_ + 1; ++i) {
      if (i == 0 && in_middle()) {
        forward(0);
        backward(1);
      } else {
        both(0, 1);
      }
      both(1, 0);
    }
  }
  /// Steps 5 to 8. In the second half of step 6 weight gradients are put off.
  void drain() {
    const std::size_t behind = depth_ - place_ - 1;
    for (std::size_t i = 0; i < behind; ++i) {
      backward(1);
      both(1, 0);
    }
    const std::size_t pairs = place_ + 1;
    for (std::size_t pass = 0; pass < 2 * pairs; ++pass) {
      const std::size_t way = pass % 2 == 0 ? 1 : 0;
      if (pass >= pairs) {
        backward_input(way);
      } else {
        backward(way);
      }
    }
    for (std::size_t i = 0; i < behind; ++i) {
      backward_weight();
      backward_input(0);
    }
    for (std::size_t i = 0; i < place_ + 1; ++i) {
      backward_weight();
    }
  }

  std::size_t depth_;
  std::size_t place_;
  std::size_t micro_batches_;
  std::array<Way, 2> ways_;
  std::array<std::size_t, 2> forwards_{};
  std::array<std::size_t, 2> backwards_{};
  std::deque<StageVisit> put_off_;
  std::vector<ScheduleItem> order_;
};

}  // namespace

ScheduleOrder dualpipe_order(const PipelineShape& shape) {
  ScheduleOrder order;
  const std::size_t half = shape.micro_batches / 2;
  for (std::size_t rank = 0; rank < shape.ranks; ++rank) {
    const std::size_t mirrored = shape.ranks - 1 - rank;
    std::array<DualPipeRank::Way, 2> ways{{{rank, 0}, {mirrored, half}}};
    if (rank > mirrored) {
      std::swap(ways[0], ways[1]);
    }
    order.push_back(DualPipeRank(shape.ranks / 2, std::min(rank, mirrored), half, ways).order());
  }
  return order;
}

ScheduleOrder dualpipe_v_order(const PipelineShape& shape) {
  ScheduleOrder order;
  for (std::size_t rank = 0; rank < shape.ranks; ++rank) {
    const std::array<DualPipeRank::Way, 2> ways{{{rank, 0}, {2 * shape.ranks - 1 - rank, 0}}};
    order.push_back(DualPipeRank(shape.ranks, rank, shape.micro_batches, ways).order());
  }
  return order;
}

}  // namespace moesim
