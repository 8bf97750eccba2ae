#include "sim/execute/execute.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "models/hardware/hardware.hpp"
#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"
#include "sim/execute/bound_distance.hpp"
#include "sim/execute/executor.hpp"

namespace moesim {

namespace {

TimeCategory category_of(Bound bound) {
  switch (bound) {
    case Bound::kCompute:
      return TimeCategory::kCompute;
    case Bound::kMemory:
      return TimeCategory::kMemory;
    case Bound::kOverhead:
      break;
  }
  return TimeCategory::kOverhead;
}

/// Of the links, in bytes a second, and then of each rank's communication units: all of them.
std::vector<double> capacities_of(const Cluster& cluster, std::size_t ranks) {
  std::vector<double> capacities;
  for (const Link& link : cluster.links()) {
    capacities.push_back(link.capacity.base());
  }
  capacities.resize(capacities.size() + ranks, 1.0);
  return capacities;
}

}  // namespace

Executor::Executor(const Program& program, const Cluster& cluster, const CostModel& costs,
                   const CommunicationProfile& communication, Fidelity fidelity)
    : program_(program),
      cluster_(cluster),
      costs_(costs),
      terms_(cluster, communication, program.ranks.size()),
      plans_(terms_, communication_),
      fluid_(capacities_of(cluster, program.ranks.size())),
      exchanges_(program.exchanges.size()),
      kernel_costs_(program.kernels.size()),
      contention_(communication.contention),
      computing_(program.ranks.size()),
      kernel_ends_(program.ranks.size()),
      sending_(program.ranks.size()),
      waits_(program.ranks.size()),
      receive_times_(program.ranks.size()),
      next_(program.ranks.size(), 0),
      record_(program.ranks.size(), program.stages) {
  const std::size_t ranks = program.ranks.size();
  ensure(ranks <= cluster.gpus(), "a program has more ranks than the cluster has GPUs");
  if (fidelity == Fidelity::kBound) {
    alone_.emplace(capacities_of(cluster, ranks));
  }
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    communication_.emplace_back(cluster.links().size() + rank);
  }
  result_.link_bytes.assign(cluster.links().size(), 0.0);
}

Execution Executor::run() {
  for (std::size_t rank = 0; rank < program_.ranks.size(); ++rank) {
    advance_rank(RankId(rank));
  }
  std::vector<ActivityId> completed;
  while (true) {
    const std::optional<SimTime> event = queue_.next_time();
    const std::optional<SimTime> completion = fluid_.next_completion();
    if (!event && !completion) {
      break;
    }
    now_ = std::min(event.value_or(SimTime::never()), completion.value_or(SimTime::never()));
    completed.clear();
    fluid_.advance(now_, completed);
    for (const ActivityId activity : completed) {
      ++result_.events;
      const TransferOnWay transfer = on_way_[activity.index()];
      pass(transfer.exchange, transfer.transfer);
    }
    while (queue_.next_time() == now_) {
      const Event payload = queue_.pop()->payload;
      result_.events += std::holds_alternative<KernelThrough>(payload) ? 0 : 1;
      std::visit([this](const auto& what) { happen(what); }, payload);
    }
  }
  finish();
  return std::move(result_);
}

void Executor::advance_rank(RankId rank) {
  const auto& stream = program_.ranks[rank.index()];
  while (next_[rank.index()] < stream.size()) {
    const Instruction& instruction = stream[next_[rank.index()]];
    if (const auto* kernel = std::get_if<RunKernel>(&instruction)) {
      if (start_kernel(rank, *kernel)) {
        return;
      }
    } else if (const auto* send = std::get_if<Send>(&instruction)) {
      if (send_next(rank, send->exchange)) {
        return;
      }
    } else if (!receive(rank, std::get<Receive>(instruction).exchange)) {
      return;
    }
    ++next_[rank.index()];
  }
}

bool Executor::start_kernel(RankId rank, const RunKernel& instruction) {
  const KernelCost& cost = cost_of(instruction.kernel);
  const double repeat = instruction.repeat;
  result_.work += cost.demand.work * repeat;
  result_.traffic += cost.demand.traffic * repeat;
  result_.peak_time += cost.peak_time * repeat;
  if (!(cost.time.base() > 0.0)) {
    return false;
  }
  const double bandwidth = cluster_.accelerator().memory_bandwidth.base();
  const SimTime end = computing_.start(rank, now_, needs_of(cost, repeat, bandwidth, contention_));
  kernel_ends_[rank.index()] = queue_.push(end, Phase::kCompletion, KernelEnd{rank});
  record_.begin(rank, now_);
  return true;
}

const KernelCost& Executor::cost_of(std::uint32_t kernel) {
  auto& cost = kernel_costs_[kernel];
  if (!cost) {
    constexpr Duration kLong = seconds(100e-6);  // asked about each, as long as there are few
    cost = costs_.cost(program_.kernels[kernel]);
    if (cost->confidence == Confidence::kExtrapolated || cost->busy > kLong) {
      for (std::string& warning : costs_.warnings(program_.kernels[kernel])) {
        warnings_.insert(std::move(warning));
      }
    }
  }
  return *cost;
}

void Executor::end_kernel(RankId id) {
  const std::size_t rank = id.index();
  const Instruction& ended = program_.ranks[rank][next_[rank]];
  if (const auto* send = std::get_if<Send>(&ended)) {
    const Exchange& exchange = program_.exchanges[send->exchange];
    record_.add(id, now_, exposed_category(exchange.op), exchange);
  } else {
    const auto& instruction = std::get<RunKernel>(ended);
    const KernelCost& cost = cost_of(instruction.kernel);
    const SimTime since = record_.since(id);
    const Duration fixed = (now_ - since).duration() * (1.0 - cost.busy / cost.time);
    const SimTime busy_from = std::min(since + round_to_ticks(fixed), now_);
    record_.add(id, busy_from, TimeCategory::kOverhead, instruction);
    record_.add(id, now_, category_of(cost.bound), instruction);
    computing_.end(id);
  }
  ++next_[rank];
  advance_rank(id);
}

void Executor::finish() {
  for (std::size_t rank = 0; rank < program_.ranks.size(); ++rank) {
    ensure(next_[rank] == program_.ranks[rank].size(), "a rank waits for what nobody sends");
  }
  ensure(std::all_of(exchanges_.begin(), exchanges_.end(), [](const auto& running) { return running == nullptr; }),
         "an exchange has transfers that never arrived");
  record_.finish(result_);
  constexpr std::size_t kShown = 3;  // one out-of-range shape seldom comes alone
  for (const std::string& warning : warnings_) {
    if (result_.warnings.size() == kShown) {
      result_.warnings.push_back(fmt::format("and {} more warnings of this kind", warnings_.size() - kShown));
      break;
    }
    result_.warnings.push_back(warning);
  }
}

Execution execute(const Program& program, const Cluster& cluster, const CostModel& costs,
                  const CommunicationProfile& communication, Fidelity fidelity) {
  const auto run = [&](const Program& part, Fidelity how) {
    return Executor(part, cluster, costs, communication, how).run();
  };
  Execution execution = run(program, fidelity);
  if (fidelity == Fidelity::kBound) {
    execution.distance = distance_of_bound(program, run);
  }
  return execution;
}

}  // namespace moesim
