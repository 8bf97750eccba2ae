#include <algorithm>

#include "sim/training/schedule_orders.hpp"

/// Schedules in which all micro-batches enter at rank 0.
namespace moesim {

namespace {

ScheduleItem item(Pass pass, std::size_t stage, std::size_t micro_batch) {
  return {pass, {static_cast<std::uint32_t>(stage), static_cast<std::uint32_t>(micro_batch)}};
}

/// The k-th pass of a rank that takes rounds of P micro-batches through its chunks in turn (Megatron-LM,
/// megatron/core/pipeline_parallel/schedules.py).
StageVisit visit_of(const PipelineShape& shape, std::size_t rank, std::size_t k, Pass pass) {
  const std::size_t round = shape.ranks * shape.chunks;
  const std::size_t in_turn = k % round / shape.ranks;
  const std::size_t chunk = pass == Pass::kForward ? in_turn : shape.chunks - 1 - in_turn;
  const std::size_t micro_batch = shape.chunks == 1 ? k : k / round * shape.ranks + k % shape.ranks;
  return {static_cast<std::uint32_t>(chunk * shape.ranks + rank), static_cast<std::uint32_t>(micro_batch)};
}

/// Forward passes before the first backward pass, then both in turn, then the backward passes that are left.
template <class Steady>
std::vector<ScheduleItem> in_turn(const PipelineShape& shape, std::size_t rank, std::size_t ahead, Steady steady) {
  const std::size_t all = shape.micro_batches * shape.chunks;
  std::vector<ScheduleItem> order;
  ahead = std::min(ahead, all);
  for (std::size_t k = 0; k < ahead; ++k) {
    order.push_back({Pass::kForward, visit_of(shape, rank, k, Pass::kForward)});
  }
  for (std::size_t k = 0; k < all; ++k) {
    const StageVisit backward = visit_of(shape, rank, k, Pass::kBackward);
    if (k + ahead < all) {
      steady(order, visit_of(shape, rank, k + ahead, Pass::kForward), backward);
    } else {
      order.push_back({Pass::kBackward, backward});
    }
  }
  return order;
}

void one_then_the_other(std::vector<ScheduleItem>& order, const StageVisit& forward, const StageVisit& backward) {
  order.push_back({Pass::kForward, forward});
  order.push_back({Pass::kBackward, backward});
}
void side_by_side(std::vector<ScheduleItem>& order, const StageVisit& forward, const StageVisit& backward) {
  order.push_back({Pass::kForwardBackward, forward, backward});
}

/// Forward passes that rank r of P with v chunks is ahead: those that fill the ranks behind it twice, there and back,
/// and the rounds of the chunks before its last.
std::size_t rounds_ahead(const PipelineShape& shape, std::size_t rank) {
  return 2 * (shape.ranks - 1 - rank) + (shape.chunks - 1) * shape.ranks;
}

}  // namespace

ScheduleOrder gpipe_order(const PipelineShape& shape) {
  ScheduleOrder order(shape.ranks);
  for (std::size_t rank = 0; rank < shape.ranks; ++rank) {
    for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
      for (std::size_t k = 0; k < shape.micro_batches; ++k) {
        order[rank].push_back(item(pass, rank, k));
      }
    }
  }
  return order;
}

ScheduleOrder one_f_one_b_order(const PipelineShape& shape) {
  ScheduleOrder order;
  for (std::size_t rank = 0; rank < shape.ranks; ++rank) {
    order.push_back(in_turn(shape, rank, shape.ranks - 1 - rank, one_then_the_other));
  }
  return order;
}

// With one chunk a rank it is 1f1b.
ScheduleOrder interleaved_order(const PipelineShape& shape) {
  if (shape.chunks == 1) {
    return one_f_one_b_order(shape);
  }
  ScheduleOrder order;
  for (std::size_t rank = 0; rank < shape.ranks; ++rank) {
    // As many micro-batches as ranks: nothing is left to take turns with (Megatron-LM runs all forward passes first).
    const std::size_t all = shape.micro_batches * shape.chunks;
    const std::size_t ahead = shape.micro_batches == shape.ranks ? all : rounds_ahead(shape, rank);
    order.push_back(in_turn(shape, rank, ahead, one_then_the_other));
  }
  return order;
}

// One more forward pass ahead than where they take turns, so that the two that run side by side need nothing of each
// other.
ScheduleOrder overlapped_order(const PipelineShape& shape) {
  ScheduleOrder order;
  for (std::size_t rank = 0; rank < shape.ranks; ++rank) {
    order.push_back(in_turn(shape, rank, rounds_ahead(shape, rank) + 1, side_by_side));
  }
  return order;
}

// The order of 1f1b with backward passes split. Rank r puts off the weight gradients of r micro-batches, so that every
// rank keeps as many micro-batches as rank 0 does in 1f1b; they fill the gaps in which 1f1b waits at the end.
ScheduleOrder zero_bubble_order(const PipelineShape& shape) {
  ScheduleOrder order(shape.ranks);
  for (std::size_t rank = 0; rank < shape.ranks; ++rank) {
    std::size_t weights = 0;
    std::size_t inputs = 0;
    for (const ScheduleItem& of_1f1b : in_turn(shape, rank, shape.ranks - 1 - rank, one_then_the_other)) {
      if (of_1f1b.pass == Pass::kForward) {
        order[rank].push_back(of_1f1b);
        continue;
      }
      order[rank].push_back({Pass::kBackwardInput, of_1f1b.visit});
      if (++inputs > rank) {
        order[rank].push_back(item(Pass::kBackwardWeight, rank, weights++));
      }
    }
    while (weights < shape.micro_batches) {
      order[rank].push_back(item(Pass::kBackwardWeight, rank, weights++));
    }
  }
  return order;
}

}  // namespace moesim
