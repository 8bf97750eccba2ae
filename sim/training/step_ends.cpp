#include "sim/training/step_ends.hpp"

#include <algorithm>
#include <optional>

#include "sim/core/quantity.hpp"

namespace moesim {

namespace {

/// Between begin and end of an item, the moment when `done` of its `count` layers are through.
SimTime moment(const PlacedItem& item, std::size_t done, std::size_t count) {
  const std::int64_t length = (item.end - item.begin).ticks();
  return item.begin + SimTime::from_ticks(length * static_cast<std::int64_t>(done) / static_cast<std::int64_t>(count));
}

/// The pass that makes the last gradients of a stage's weights on a rank; absent where the rank has no such stage.
const PlacedItem* last_gradients(const std::vector<PlacedItem>& items, std::size_t stage) {
  const auto found = std::find_if(items.rbegin(), items.rend(), [&](const PlacedItem& placed) {
    const ScheduleItem& item = placed.item;
    return item.pass == Pass::kForwardBackward
               ? item.backward.stage == stage
               : item.visit.stage == stage && (item.pass == Pass::kBackward || item.pass == Pass::kBackwardWeight);
  });
  return found == items.rend() ? nullptr : &*found;
}

const PlacedItem* first_forward(const std::vector<PlacedItem>& items, std::size_t stage) {
  const auto found = std::find_if(items.begin(), items.end(), [&](const PlacedItem& placed) {
    const bool forward = placed.item.pass == Pass::kForward || placed.item.pass == Pass::kForwardBackward;
    return forward && placed.item.visit.stage == stage;
  });
  return found == items.end() ? nullptr : &*found;
}

/// What a rank's stages have, one bucket after the other.
struct Bucket {
  SimTime ready;
  SimTime length;
};

/// When the last of them is through.
SimTime through(std::vector<Bucket> buckets) {
  std::stable_sort(buckets.begin(), buckets.end(), [](const Bucket& a, const Bucket& b) { return a.ready < b.ready; });
  SimTime now;
  for (const Bucket& bucket : buckets) {
    now = std::max(now, bucket.ready) + bucket.length;
  }
  return now;
}

}  // namespace

std::vector<StageBuckets> stage_buckets(const PreparedTraining& prepared, ParameterSync& sync,
                                        const std::vector<TrainingMemoryRequest>& requests) {
  const OptimizerConfig& optimizer = prepared.training.optimizer;
  const bool sharded = optimizer.states == OptimizerSharding::kDistributed;
  const Collective reduce = sharded ? Collective::kReduceScatter : Collective::kAllReduce;
  const TrainingLayout& layout = prepared.layout;
  std::vector<StageBuckets> result(layout.stages.size());
  for (std::size_t rank = 0; rank < layout.shape.ranks; ++rank) {
    const auto held = stages_of_rank(*layout.schedule, layout.shape, rank);
    for (std::size_t i = 0; i < held.size(); ++i) {
      const RankParameters count = rank_parameters(requests[rank], requests[rank].chunks[i]);
      StageBuckets& buckets = result[held[i]];
      buckets.count = layout.stages[held[i]].layers();
      const auto parts = static_cast<double>(buckets.count);
      buckets.reduce = sync.dense(reduce, count.dense / parts, optimizer.reduce_type) +
                       sync.experts(reduce, count.experts / parts, optimizer.reduce_type);
      if (sharded) {
        buckets.gather = sync.dense(Collective::kAllGather, count.dense / parts, optimizer.parameters) +
                         sync.experts(Collective::kAllGather, count.experts / parts, optimizer.parameters);
      }
    }
  }
  return result;
}

std::vector<SimTime> gradients_ready(const PreparedTraining& prepared, const PipelineRun& run,
                                     const std::vector<StageBuckets>& buckets) {
  const TrainingLayout& layout = prepared.layout;
  const bool overlapped = prepared.training.optimizer.gradient_reduce == Overlap::kOverlapped;
  std::vector<SimTime> ready;
  for (std::size_t rank = 0; rank < layout.shape.ranks; ++rank) {
    std::vector<Bucket> waiting;
    for (const std::size_t stage : stages_of_rank(*layout.schedule, layout.shape, rank)) {
      for (std::size_t bucket = 0; bucket < buckets[stage].count; ++bucket) {
        SimTime at;
        for (const auto& holder : run.ranks) {  // of all that have it
          if (const PlacedItem* item = last_gradients(holder, stage)) {
            at = std::max(at, overlapped ? moment(*item, bucket + 1, buckets[stage].count) : holder.back().end);
          }
        }
        waiting.push_back({at, buckets[stage].reduce});
      }
    }
    ready.push_back(through(std::move(waiting)));
  }
  return ready;
}

SimTime gather_delay(const PreparedTraining& prepared, const PipelineRun& run,
                     const std::vector<StageBuckets>& buckets) {
  const TrainingLayout& layout = prepared.layout;
  SimTime most;
  for (std::size_t rank = 0; rank < layout.shape.ranks; ++rank) {
    std::vector<std::pair<const PlacedItem*, std::size_t>> first;
    for (const std::size_t stage : stages_of_rank(*layout.schedule, layout.shape, rank)) {
      first.emplace_back(first_forward(run.ranks[rank], stage), stage);
    }
    std::sort(first.begin(), first.end(), [](const auto& a, const auto& b) { return a.first->begin < b.first->begin; });
    SimTime gathered;
    for (const auto& [item, stage] : first) {
      for (std::size_t bucket = 0; bucket < buckets[stage].count; ++bucket) {
        gathered += buckets[stage].gather;
        most = std::max(most, gathered - moment(*item, bucket, buckets[stage].count));
      }
    }
  }
  return most;
}

/// Adam in one pass through memory: gradients of the rank's part are read for the norm, and read again with master
/// weights and moments, which are written with the parameters; the whole buffer of gradients is zeroed; where products
/// are in 8 bits, the rank's parameters are read and written as two casts.
SimTime optimizer_time(const PreparedTraining& prepared, const TrainingMemoryRequest& request, const CostModel& costs) {
  const StateTypes& types = request.types;
  const bool sharded = request.sharding == OptimizerSharding::kDistributed;
  const auto part = [&](double count, std::int64_t ranks) { return count / static_cast<double>(sharded ? ranks : 1); };
  const ReleasedTypes released = prepared.model.architecture().released();
  Streaming update;
  Streaming cast;
  for (const ChunkInFlight& chunk : request.chunks) {
    const RankParameters count = rank_parameters(request, chunk);
    const double own = part(count.dense, request.data_parallel) + part(count.experts, request.expert_data_parallel);
    const Bytes state =
        element_size(types.master) + element_size(types.first_moment) + element_size(types.second_moment);
    update.read += own * (state + 2.0 * element_size(types.gradients));
    update.written += own * (state + element_size(types.parameters));
    update.written += (count.dense + count.experts) * element_size(types.gradients);
    for (const auto& [parameters, type] : {std::pair(count.dense, request.precision.matrix_weights(released)),
                                           std::pair(count.experts, request.precision.expert_weights(released))}) {
      if (element_size(type) < bytes(2.0)) {
        cast.read += parameters * element_size(types.parameters);
        cast.written += 2.0 * parameters * element_size(type);
      }
    }
  }
  Duration time = costs.cost(update).time;
  time += cast.read > Bytes{} ? costs.cost(cast).time : Duration{};
  return round_to_ticks(time);
}

}  // namespace moesim
