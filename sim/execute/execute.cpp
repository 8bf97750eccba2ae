#include "sim/execute/execute.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <variant>

#include "models/hardware/hardware.hpp"
#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"
#include "sim/engine/event_queue.hpp"
#include "sim/execute/bound_distance.hpp"
#include "sim/execute/bound_network.hpp"
#include "sim/execute/exchange_plan.hpp"
#include "sim/execute/exchange_state.hpp"
#include "sim/execute/kernel_time.hpp"
#include "sim/execute/network_terms.hpp"
#include "sim/fluid/episodes.hpp"

namespace moesim {

namespace {

/// Transfers that a rank's Send set off, once the protocol's fixed time and their paths' latency have passed.
struct Launch {
  std::uint32_t exchange = 0;
  ExchangeState::Batch batch;
};

/// A rank has everything of an exchange.
struct Arrival {
  std::uint32_t exchange = 0;
  RankId rank;
};
/// A rank's kernel ends.
struct KernelEnd {
  RankId rank;
};
using Event = std::variant<Launch, Arrival, KernelEnd>;

/// An exchange while it runs, and what it costs.
struct RunningExchange {
  ExchangeState state;
  ExchangeTerms terms;
  std::vector<SimTime> flowing;  ///< [ranks]: when the last transfer to it began to flow, so far
};

/// What a fluid activity stands for.
struct TransferOnWay {
  std::uint32_t exchange = 0;
  std::uint32_t transfer = 0;
};

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

TimeCategory exposed_category(StepOperator op) {
  return op == StepOperator::kDispatch  ? TimeCategory::kExposedDispatch
         : op == StepOperator::kCombine ? TimeCategory::kExposedCombine
                                        : TimeCategory::kExposedCollective;
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

class Executor {
 public:
  Executor(const Program& program, const Cluster& cluster, const CostModel& costs,
           const CommunicationProfile& communication, Fidelity fidelity)
      : program_(program),
        cluster_(cluster),
        costs_(costs),
        terms_(cluster, communication, program.ranks.size()),
        plans_(terms_, communication_),
        fluid_(capacities_of(cluster, program.ranks.size())),
        exchanges_(program.exchanges.size()),
        kernel_costs_(program.kernels.size()),
        compute_(program.ranks.size(), 1.0),
        taken_(program.ranks.size(), 0.0),
        next_(program.ranks.size(), 0),
        since_(program.ranks.size()) {
    const std::size_t ranks = program.ranks.size();
    ensure(ranks <= cluster.gpus(), "a program has more ranks than the cluster has GPUs");
    if (fidelity == Fidelity::kBound) {
      alone_.emplace(capacities_of(cluster, ranks));
    }
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      communication_.emplace_back(cluster.links().size() + rank);
    }
    result_.timeline.resize(ranks);
    result_.stage_end.resize(program.stages);
    result_.link_bytes.assign(cluster.links().size(), 0.0);
  }

  Execution run() {
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
        ++result_.events;
        const Event payload = queue_.pop()->payload;
        if (const auto* end = std::get_if<KernelEnd>(&payload)) {
          end_kernel(end->rank);
        } else if (const auto* start = std::get_if<Launch>(&payload)) {
          launch(*start);
        } else {
          const auto& arrival = std::get<Arrival>(payload);
          arrive(arrival.exchange, arrival.rank);
          release(arrival.exchange);
        }
      }
    }
    finish();
    return std::move(result_);
  }

 private:
  /// Runs a rank's instructions until one takes time.
  void advance_rank(RankId rank) {
    const auto& stream = program_.ranks[rank.index()];
    while (next_[rank.index()] < stream.size()) {
      const Instruction& instruction = stream[next_[rank.index()]];
      if (const auto* kernel = std::get_if<RunKernel>(&instruction)) {
        if (start_kernel(rank, *kernel)) {
          return;
        }
      } else if (const auto* send = std::get_if<Send>(&instruction)) {
        post(rank, send->exchange);
      } else if (!receive(rank, std::get<Receive>(instruction).exchange)) {
        return;
      }
      ++next_[rank.index()];
    }
  }

  /// False where the kernel has nothing to do.
  bool start_kernel(RankId rank, const RunKernel& instruction) {
    const KernelCost& cost = cost_of(instruction.kernel);
    const double repeat = instruction.repeat;
    result_.work += cost.demand.work * repeat;
    result_.traffic += cost.demand.traffic * repeat;
    result_.peak_time += cost.peak_time * repeat;
    const double alone = cost.time.base();
    if (!(alone > 0.0)) {
      return false;
    }
    const double memory_bandwidth = cluster_.accelerator().memory_bandwidth.base();
    queue_.push(
        now_ + time_of_kernel(alone * repeat, {.compute = compute_[rank.index()],
                                               .memory = memory_bandwidth / (cost.demand.traffic.base() / alone)}),
        Phase::kCompletion, KernelEnd{rank});
    since_[rank.index()] = now_;
    return true;
  }

  const KernelCost& cost_of(std::uint32_t kernel) {
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

  void share(double bytes, std::span<const Use> uses, double fairness, TransferOnWay transfer) {
    on_way_.resize(fluid_.start(now_, bytes, uses, fairness).index());
    on_way_.push_back(transfer);
  }

  RunningExchange& running(std::uint32_t index) {
    auto& slot = exchanges_[index];
    if (!slot) {
      const Exchange& exchange = program_.exchanges[index];
      ExchangeTerms terms = terms_.terms(exchange);
      if (!terms.warning.empty()) {
        warnings_.insert(terms.warning);
      }
      ExchangeState state(exchange, plans_.plan(exchange, terms));
      slot = std::make_unique<RunningExchange>(
          RunningExchange{std::move(state), std::move(terms), std::vector<SimTime>(program_.ranks.size())});
    }
    return *slot;
  }

  void post(RankId rank, std::uint32_t index) {
    RunningExchange& exchange = running(index);
    occupy(rank, exchange.terms, +1);
    const ExchangeState::Batch batch = exchange.state.send(rank, now_);
    const auto starts = exchange.state.launched(batch);
    const auto delay = [&](std::size_t i) { return exchange.state.plan().starts[starts[i]].delay; };
    for (std::uint32_t first = 0; first < starts.size();) {
      std::uint32_t last = first;
      while (last < starts.size() && delay(last) == delay(first)) {
        ++last;
      }
      queue_.push(now_ + round_to_ticks(exchange.terms.fixed() + delay(first)), Phase::kStart,
                  Launch{index, {batch.first + first, batch.first + last}});
      first = last;
    }
  }

  void launch(const Launch& launch) {
    const Exchange& exchange = program_.exchanges[launch.exchange];
    // Arrivals end exchanges, but not before the last of a batch.
    RunningExchange& running = *exchanges_[launch.exchange];
    const ExchangePlan& plan = running.state.plan();
    // Kernels that are held back by their units work through their tokens in order, each to all its destinations:
    // their transfers advance in proportion to their sizes.
    const bool in_order = running.terms.units_scale_up > 0.0 || running.terms.units_network > 0.0;
    for (const std::uint32_t place : running.state.launched(launch.batch)) {
      const ExchangePlan::Start& start = plan.starts[place];
      const double bytes = exchange.transfers[start.transfer].bytes;
      SimTime& flowing = running.flowing[start.to.index()];
      flowing = std::max(flowing, now_);
      count_bytes(plan, start, bytes);
      const auto uses = bytes > 0.0 ? plan.uses_of(start) : std::span<const Use>();
      if (alone_) {
        alone_->start(now_, uses, bytes);
      } else if (!uses.empty()) {
        share(bytes, uses, in_order ? bytes : 1.0, {launch.exchange, start.transfer});
      } else {
        pass(launch.exchange, start.transfer);
      }
    }
    if (alone_) {
      pass_alone(launch);
    }
  }

  /// With Fidelity::kBound nothing that comes later changes when a transfer is through.
  void pass_alone(const Launch& launch) {
    ExchangeState& state = exchanges_[launch.exchange]->state;
    complete_.clear();
    auto place = state.launched(launch.batch).begin();
    for (const SimTime through : alone_->launch(now_)) {
      state.finish(state.plan().starts[*place++].transfer, through, complete_);
    }
    for (const RankId to : complete_) {
      queue_.push(state.complete_at(to), Phase::kCompletion, Arrival{launch.exchange, to});
    }
  }

  void count_bytes(const ExchangePlan& plan, const ExchangePlan::Start& start, double bytes) {
    using Domain = ExchangePlan::Start::Domain;
    if (start.domain == Domain::kRank || !(bytes > 0.0)) {
      return;
    }
    for (std::uint32_t i = start.first; i < start.first + start.count; ++i) {
      if (plan.shares[i] > 0.0) {
        result_.link_bytes[plan.uses[i].resource.index()] += bytes * plan.shares[i];
      }
    }
    (start.domain == Domain::kNetwork ? result_.bytes_inter_node : result_.bytes_intra_node) += bytes;
  }

  void end_kernel(RankId id) {
    const std::size_t rank = id.index();
    const auto& instruction = std::get<RunKernel>(program_.ranks[rank][next_[rank]]);
    const KernelCost& cost = cost_of(instruction.kernel);
    const Duration fixed = (now_ - since_[rank]).duration() * (1.0 - cost.busy / cost.time);
    const SimTime busy_from = std::min(since_[rank] + round_to_ticks(fixed), now_);
    record(id, busy_from, TimeCategory::kOverhead, instruction.op, instruction.stage);
    record(id, now_, category_of(cost.bound), instruction.op, instruction.stage);
    ++next_[rank];
    advance_rank(id);
  }

  /// A transfer is through now.
  void pass(std::uint32_t index, std::uint32_t transfer) {
    std::vector<RankId> complete;
    exchanges_[index]->state.finish(transfer, now_, complete);
    for (const RankId to : complete) {
      arrive(index, to);
    }
    release(index);
  }

  void arrive(std::uint32_t index, RankId to) {
    if (exchanges_[index]->state.arrive(to)) {
      go_on(index, to);
    }
  }

  /// A rank that waited has everything: until the last sender had sent it was waiting for that rank, then for the
  /// protocol's fixed time and the latency of the path, and from then on for the links.
  void go_on(std::uint32_t index, RankId rank) {
    const Exchange& exchange = program_.exchanges[index];
    const RunningExchange& running = *exchanges_[index];
    const SimTime begin = since_[rank.index()];
    const SimTime all_sent = std::clamp(running.state.last_send(rank), begin, now_);
    const SimTime flowing = std::clamp(running.flowing[rank.index()], all_sent, now_);
    record(rank, all_sent, TimeCategory::kImbalanceWait, exchange.op, exchange.stage);
    record(rank, flowing, TimeCategory::kOverhead, exchange.op, exchange.stage);
    record(rank, now_, exposed_category(exchange.op), exchange.op, exchange.stage);
    ++next_[rank.index()];
    occupy(rank, running.terms, -1);
    advance_rank(rank);
  }

  void release(std::uint32_t index) {
    if (exchanges_[index] && exchanges_[index]->state.done()) {
      exchanges_[index].reset();
    }
  }

  /// Kernels of a protocol that keeps compute units hold them from a rank's Send to the end of its Receive.
  void occupy(RankId rank, const ExchangeTerms& terms, int change) {
    const double share = terms.compute_share;
    if (share > 0.0) {
      double& taken = taken_[rank.index()];
      taken = std::max(0.0, taken + change * share);
      compute_[rank.index()] = std::max(1.0 - taken, 0.01);
    }
  }

  /// True if everything is there already.
  bool receive(RankId rank, std::uint32_t index) {
    RunningExchange& exchange = running(index);
    since_[rank.index()] = now_;
    if (!exchange.state.receive(rank)) {
      return false;
    }
    record(rank, now_, TimeCategory::kOverhead, program_.exchanges[index].op, program_.exchanges[index].stage);
    occupy(rank, exchange.terms, -1);
    release(index);
    return true;
  }

  /// Appends what the rank did from since_ to `end`; joins equal neighbours and notes the stage's progress.
  void record(RankId rank, SimTime end, TimeCategory category, StepOperator op, std::uint32_t stage) {
    SimTime& since = since_[rank.index()];
    auto& timeline = result_.timeline[rank.index()];
    const SimTime recorded = timeline.empty() ? SimTime() : timeline.back().end;
    ensure(since == recorded && end >= since, "a rank's time is not covered without gaps");
    if (end > since) {
      timeline.push_back({since, end, category, op, stage});
    }
    since = end;
    result_.stage_end[stage] = std::max(result_.stage_end[stage], end);
  }

  void finish() {
    for (std::size_t rank = 0; rank < program_.ranks.size(); ++rank) {
      ensure(next_[rank] == program_.ranks[rank].size(), "a rank waits for what nobody sends");
      const auto& timeline = result_.timeline[rank];
      result_.end = std::max(result_.end, timeline.empty() ? SimTime() : timeline.back().end);
    }
    ensure(std::all_of(exchanges_.begin(), exchanges_.end(), [](const auto& running) { return running == nullptr; }),
           "an exchange has transfers that never arrived");
    for (std::size_t rank = 0; rank < program_.ranks.size(); ++rank) {
      record(RankId(rank), result_.end, TimeCategory::kImbalanceWait, StepOperator::kSampling, program_.stages - 1);
    }
    constexpr std::size_t kShown = 3;  // one out-of-range shape seldom comes alone
    for (const std::string& warning : warnings_) {
      if (result_.warnings.size() == kShown) {
        result_.warnings.push_back(fmt::format("and {} more warnings of this kind", warnings_.size() - kShown));
        break;
      }
      result_.warnings.push_back(warning);
    }
    for (std::size_t stage = 1; stage < result_.stage_end.size(); ++stage) {  // stages that nothing runs in
      result_.stage_end[stage] = std::max(result_.stage_end[stage], result_.stage_end[stage - 1]);
    }
  }

  const Program& program_;
  const Cluster& cluster_;
  const CostModel& costs_;
  NetworkTerms terms_;
  std::vector<ResourceId> communication_;  // [ranks]: the units that communication kernels keep; after the links
  ExchangePlans plans_;
  FluidEpisodes fluid_;
  std::optional<BoundNetwork> alone_;  // with Fidelity::kBound
  EventQueue<Event> queue_;
  SimTime now_;
  std::vector<TransferOnWay> on_way_;  // by activity of the episode
  std::vector<std::unique_ptr<RunningExchange>> exchanges_;
  std::vector<RankId> complete_;  // by the launch that goes on
  std::vector<std::optional<KernelCost>> kernel_costs_;
  std::vector<double> compute_;    // [ranks]: share of the compute units that kernels have
  std::vector<double> taken_;      // [ranks]: share of the compute units that communication keeps
  std::vector<std::size_t> next_;  // [ranks]: the instruction that runs
  std::vector<SimTime> since_;     // [ranks]: when it began
  std::set<std::string> warnings_;
  Execution result_;
};

}  // namespace

Execution execute(const Program& program, const Cluster& cluster, const CostModel& costs,
                  const CommunicationProfile& communication, Fidelity fidelity) {
  Execution execution = Executor(program, cluster, costs, communication, fidelity).run();
  if (fidelity == Fidelity::kBound) {
    execution.distance = distance_of_bound(execution, program, cluster, costs, communication);
  }
  return execution;
}

}  // namespace moesim
