#include "sim/training/stage_network.hpp"

#include <algorithm>

#include "sim/core/quantity.hpp"
#include "sim/execute/execute.hpp"

namespace moesim {

namespace {

SimTime send_between(const PreparedTraining& prepared, const CostModel& costs, std::size_t from, std::size_t to,
                     double bytes) {
  const std::size_t width = prepared.layout.stage_ranks;
  Exchange exchange;
  exchange.op = StepOperator::kSendRecv;
  exchange.collective = ProfiledCollective::kPointToPoint;
  exchange.group_size = 2;
  for (std::size_t i = 0; i < width; ++i) {
    exchange.add(RankId(from * width + i), RankId(to * width + i), bytes);
  }
  const std::size_t ranks = (std::max(from, to) + 1) * width;
  CollectivePhases phases;
  phases.emplace_back(std::move(exchange));
  return execute(collective_program(std::move(phases), ranks), prepared.cluster, costs, prepared.profile.communication)
      .end;
}

}  // namespace

StageSends::StageSends(const PreparedTraining& prepared, const CostModel& costs) {
  const Training& training = prepared.training;
  const double bytes = static_cast<double>(training.batch.micro_batch * training.batch.sequence_length) *
                       prepared.model.architecture().hidden *
                       activation_element_size(training.precision.activations).base() /
                       training.parallelism.tensor_parallel;
  const TrainingLayout& layout = prepared.layout;
  const auto last = static_cast<std::uint32_t>(layout.shape.micro_batches - 1);
  for (std::uint32_t stage = 0; stage + 1 < layout.stages.size(); ++stage) {
    for (const std::uint32_t micro_batch : {std::uint32_t{0}, last}) {
      const std::size_t a = layout.schedule->rank_of(layout.shape, {stage, micro_batch});
      const std::size_t b = layout.schedule->rank_of(layout.shape, {stage + 1, micro_batch});
      for (const auto& [from, to] : {std::pair(a, b), std::pair(b, a)}) {
        if (from != to && !times_.contains({from, to})) {
          times_.emplace(std::pair(from, to), send_between(prepared, costs, from, to, bytes));
        }
      }
    }
  }
}

SimTime StageSends::longest() const {
  SimTime most;
  for (const auto& [between, time] : times_) {
    most = std::max(most, time);
  }
  return most;
}

ParameterSync::ParameterSync(const PreparedTraining& prepared, const CostModel& costs)
    : prepared_(prepared), costs_(costs) {}

SimTime ParameterSync::dense(Collective collective, double elements, DataType type) {
  const TrainingLayout& layout = prepared_.layout;
  const std::size_t ranks = layout.stage_ranks * layout.schedule->copies;
  return run(collective,
             {&prepared_.cluster, ranks, layout.dense_copies(),
              static_cast<std::size_t>(prepared_.training.parallelism.tensor_parallel)},
             elements * element_size(type).base());
}

SimTime ParameterSync::experts(Collective collective, double elements, DataType type) {
  const TrainingLayout& layout = prepared_.layout;
  const std::size_t ranks = layout.stage_ranks * layout.schedule->copies;
  return run(collective, {&prepared_.cluster, ranks, layout.expert_copies(), layout.group_ranks},
             elements * element_size(type).base());
}

SimTime ParameterSync::norm() {
  const auto ranks = static_cast<std::size_t>(prepared_.training.parallelism.ranks);
  if (ranks == 1) {
    return {};
  }
  const CollectiveAlgorithm* tree = find_algorithm(Collective::kAllReduce, "tree");
  const double number = element_size(DataType::kFp32).base();
  return execute(collective_program(tree->build({&prepared_.cluster, ranks, ranks}, number), ranks), prepared_.cluster,
                 costs_, prepared_.profile.communication)
      .end;
}

SimTime ParameterSync::run(Collective collective, const CollectiveGroups& groups, double bytes) {
  if (groups.size == 1 || bytes == 0.0) {
    return {};
  }
  const auto [found, is_new] = known_.try_emplace(std::tuple(collective, groups.stride, bytes));
  if (is_new) {
    const CollectivePhases phases = usual_algorithm(collective, groups).build(groups, bytes);
    found->second =
        execute(collective_program(phases, groups.ranks), prepared_.cluster, costs_, prepared_.profile.communication)
            .end;
  }
  return found->second;
}

}  // namespace moesim
