#include "sim/execute/execute.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
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
#include "sim/execute/compute_streams.hpp"
#include "sim/execute/exchange_plan.hpp"
#include "sim/execute/exchange_state.hpp"
#include "sim/execute/network_terms.hpp"
#include "sim/execute/timeline_recorder.hpp"
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
/// A rank's kernel has nothing left to do for an exchange.
struct KernelThrough {
  std::uint32_t exchange = 0;
  RankId rank;
};
/// A rank's kernel ends, or one that only sends.
struct KernelEnd {
  RankId rank;
};
/// A rank's kernel that only receives ends.
struct ReceiveEnd {
  RankId rank;
};
using Event = std::variant<Launch, Arrival, KernelThrough, KernelEnd, ReceiveEnd>;

/// An exchange while it runs, and what it costs.
struct RunningExchange {
  ExchangeState state;
  ExchangeTerms terms;
  std::vector<SimTime> flowing;  ///< [ranks]: when the last transfer to it began to flow, so far
  // Of kernels that only send, and only receive, where there are such: bytes, [ranks].
  std::vector<double> sent = {};
  std::vector<double> received = {};
};

/// What dispatch and combine do on a rank beside its computation.
struct CommunicationStream {
  struct Asked {
    std::uint32_t exchange = 0;
    SimTime at;
  };
  std::deque<Asked> queue;  ///< the first one runs
};

/// Parts of a rank's wait for an exchange, each until then.
struct Wait {
  SimTime asked;    ///< its last sender came to send
  SimTime sent;     ///< and sent
  SimTime flowing;  ///< and its bytes began to flow
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

/// Whether an exchange runs on the ranks' communication streams, one after another.
bool has_stream(const Exchange& exchange) {
  return exchange.kernels != ExchangeKernels::kSendAndReceive &&
         (exchange.op == StepOperator::kDispatch || exchange.op == StepOperator::kCombine);
}

/// Of a kernel that only sends or receives; none where the profile has none.
SimTime time_of(const std::optional<StreamKernelTerms>& kernel, double moved) {
  if (!kernel) {
    return {};
  }
  return round_to_ticks(kernel->overhead + (kernel->rate ? bytes(moved) / *kernel->rate : Duration{}));
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
        const Event payload = queue_.pop()->payload;
        result_.events += std::holds_alternative<KernelThrough>(payload) ? 0 : 1;
        std::visit([this](const auto& what) { happen(what); }, payload);
      }
    }
    finish();
    return std::move(result_);
  }

 private:
  void happen(const KernelEnd& event) { end_kernel(event.rank); }
  void happen(const ReceiveEnd& event) { end_receive(event.rank, now_ - receive_time(event.rank)); }
  void happen(const Launch& event) { launch(event); }
  void happen(const Arrival& event) {
    arrive(event.exchange, event.rank);
    release(event.exchange);
  }
  void happen(const KernelThrough& event) { leave(event.rank, event.exchange); }

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
        if (send_next(rank, send->exchange)) {
          return;
        }
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
    if (!(cost.time.base() > 0.0)) {
      return false;
    }
    const double bandwidth = cluster_.accelerator().memory_bandwidth.base();
    const SimTime end = computing_.start(rank, now_, needs_of(cost, repeat, bandwidth, contention_));
    kernel_ends_[rank.index()] = queue_.push(end, Phase::kCompletion, KernelEnd{rank});
    record_.begin(rank, now_);
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
      if (exchange.kernels == ExchangeKernels::kSendAndReceive) {
        slot->sent.resize(program_.ranks.size());
        slot->received.resize(program_.ranks.size());
        for (const Transfer& transfer : exchange.transfers) {
          slot->sent[transfer.from.index()] += transfer.bytes;
          slot->received[transfer.to.index()] += transfer.bytes;
        }
      }
    }
    return *slot;
  }

  /// True where a kernel that only sends takes time.
  bool send_next(RankId rank, std::uint32_t index) {
    const Exchange& exchange = program_.exchanges[index];
    if (exchange.kernels == ExchangeKernels::kSendAndReceive) {
      post(rank, index, now_);
      const RunningExchange& sent = running(index);
      const SimTime time = time_of(sent.terms.send_kernel, sent.sent[rank.index()]);
      if (time > SimTime()) {
        queue_.push(now_ + time, Phase::kCompletion, KernelEnd{rank});
        record_.begin(rank, now_);
      }
      return time > SimTime();
    }
    if (!has_stream(exchange)) {
      hold(rank, index, +1);
      post(rank, index, now_);
      return false;
    }
    auto& queue = sending_[rank.index()].queue;
    queue.push_back({index, now_});
    if (queue.size() == 1) {
      enter(rank);
    }
    return false;
  }

  /// The first exchange of a rank's communication stream begins.
  void enter(RankId rank) {
    const auto [index, asked] = sending_[rank.index()].queue.front();
    hold(rank, index, +1);
    post(rank, index, asked);
    if (exchanges_[index]->state.carries_nothing(rank)) {
      leave(rank, index);
    }
  }

  /// It is through, and the next one begins. Not earlier than the rank has sent, and at the latest when it has
  /// received.
  void leave(RankId rank, std::uint32_t index) {
    auto& queue = sending_[rank.index()].queue;
    if (queue.empty() || queue.front().exchange != index) {
      return;
    }
    hold(rank, index, -1);
    queue.pop_front();
    if (!queue.empty()) {
      enter(rank);
    }
  }

  void post(RankId rank, std::uint32_t index, SimTime asked) {
    RunningExchange& exchange = running(index);
    const ExchangeState::Batch batch = exchange.state.send(rank, asked, now_);
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
    finished_.clear();
    auto place = state.launched(launch.batch).begin();
    for (const SimTime through : alone_->launch(now_)) {
      state.finish(state.plan().starts[*place++].transfer, through, finished_);
    }
    if (has_stream(program_.exchanges[launch.exchange])) {
      for (const RankId rank : finished_.through) {
        queue_.push(state.carried_until(rank), Phase::kCompletion, KernelThrough{launch.exchange, rank});
      }
    }
    for (const RankId to : finished_.complete) {
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
    const Instruction& ended = program_.ranks[rank][next_[rank]];
    if (const auto* send = std::get_if<Send>(&ended)) {
      const Exchange& exchange = program_.exchanges[send->exchange];
      record_.add(id, now_, exposed_category(exchange.op), exchange.op, exchange.stage);
    } else {
      const auto& instruction = std::get<RunKernel>(ended);
      const KernelCost& cost = cost_of(instruction.kernel);
      const SimTime since = record_.since(id);
      const Duration fixed = (now_ - since).duration() * (1.0 - cost.busy / cost.time);
      const SimTime busy_from = std::min(since + round_to_ticks(fixed), now_);
      record_.add(id, busy_from, TimeCategory::kOverhead, instruction.op, instruction.stage);
      record_.add(id, now_, category_of(cost.bound), instruction.op, instruction.stage);
      computing_.end(id);
    }
    ++next_[rank];
    advance_rank(id);
  }

  /// A transfer is through now. Communication leaves its units before a rank goes on.
  void pass(std::uint32_t index, std::uint32_t transfer) {
    ExchangeState::Finished finished;
    exchanges_[index]->state.finish(transfer, now_, finished);
    if (has_stream(program_.exchanges[index])) {
      for (const RankId rank : finished.through) {
        leave(rank, index);
      }
    }
    for (const RankId to : finished.complete) {
      arrive(index, to);
    }
    release(index);
  }

  void arrive(std::uint32_t index, RankId to) {
    if (exchanges_[index]->state.arrive(to)) {
      come(index, to);
    }
  }

  /// A rank that waits has everything. What is left is a kernel that receives it, where there is one that has not
  /// done so while tokens came.
  void come(std::uint32_t index, RankId rank) {
    const ExchangeState& state = exchanges_[index]->state;
    waits_[rank.index()] = {state.last_asked(rank), state.last_send(rank), exchanges_[index]->flowing[rank.index()]};
    const SimTime end = std::max(now_, record_.since(rank) + receive_time(rank));
    if (end > now_) {
      queue_.push(end, Phase::kCompletion, ReceiveEnd{rank});
    } else {
      end_receive(rank, now_ - receive_time(rank));
    }
  }

  /// Until the last sender came to send, a rank was waiting for that rank, then for what was before it on the
  /// communication streams, for the protocol's fixed time and the latency of the path, and from then on for the links,
  /// up to `waited`; since then its own kernel has been receiving.
  void end_receive(RankId rank, SimTime waited) {
    const std::uint32_t index = std::get<Receive>(program_.ranks[rank.index()][next_[rank.index()]]).exchange;
    const Exchange& exchange = program_.exchanges[index];
    const Wait& wait = waits_[rank.index()];
    const SimTime begin = record_.since(rank);
    const SimTime asked = std::clamp(wait.asked, begin, waited);
    const SimTime sent = std::clamp(wait.sent, asked, waited);
    const SimTime flowing = std::clamp(wait.flowing, sent, waited);
    const TimeCategory exposed = exposed_category(exchange.op);
    record_.add(rank, asked, TimeCategory::kImbalanceWait, exchange.op, exchange.stage);
    record_.add(rank, sent, exposed, exchange.op, exchange.stage);
    record_.add(rank, flowing, TimeCategory::kOverhead, exchange.op, exchange.stage);
    record_.add(rank, now_, exposed, exchange.op, exchange.stage);
    ++next_[rank.index()];
    left_behind(rank, index);
    advance_rank(rank);
  }

  /// Of the exchange that a rank waits for: its kernel that only receives.
  SimTime receive_time(RankId rank) {
    const std::uint32_t index = std::get<Receive>(program_.ranks[rank.index()][next_[rank.index()]]).exchange;
    if (program_.exchanges[index].kernels != ExchangeKernels::kSendAndReceive) {
      return {};
    }
    return receive_times_[rank.index()];
  }

  /// A rank has received: kernels of communication hold nothing for it any more.
  void left_behind(RankId rank, std::uint32_t index) {
    const Exchange& exchange = program_.exchanges[index];
    if (has_stream(exchange)) {
      leave(rank, index);
    } else if (exchange.kernels != ExchangeKernels::kSendAndReceive) {
      hold(rank, index, -1);
    }
  }

  void release(std::uint32_t index) {
    if (exchanges_[index] && exchanges_[index]->state.done()) {
      exchanges_[index].reset();
    }
  }

  /// What kernels of communication keep of a rank's GPU while they run.
  void hold(RankId rank, std::uint32_t index, int change) {
    const ExchangeTerms& terms = running(index).terms;
    if (terms.compute_share > 0.0 || terms.memory_share > 0.0) {
      const auto end = computing_.hold(rank, now_, {change * terms.compute_share, change * terms.memory_share});
      if (end) {
        queue_.cancel(kernel_ends_[rank.index()]);
        kernel_ends_[rank.index()] = queue_.push(*end, Phase::kCompletion, KernelEnd{rank});
      }
    }
  }

  /// True if everything is there already, and there is nothing left to do for it.
  bool receive(RankId rank, std::uint32_t index) {
    RunningExchange& exchange = running(index);
    record_.begin(rank, now_);
    const bool by_itself = program_.exchanges[index].kernels == ExchangeKernels::kSendAndReceive;
    const SimTime kernel =
        by_itself ? time_of(exchange.terms.receive_kernel, exchange.received[rank.index()]) : SimTime();
    receive_times_[rank.index()] = kernel;
    if (!exchange.state.receive(rank)) {
      return false;
    }
    if (kernel > SimTime()) {
      waits_[rank.index()] = {now_, now_, now_};
      release(index);
      queue_.push(now_ + kernel, Phase::kCompletion, ReceiveEnd{rank});
      return false;
    }
    record_.add(rank, now_, TimeCategory::kOverhead, program_.exchanges[index].op, program_.exchanges[index].stage);
    left_behind(rank, index);
    release(index);
    return true;
  }

  void finish() {
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
  ExchangeState::Finished finished_;  // by the launch that goes on
  std::vector<std::optional<KernelCost>> kernel_costs_;
  ContentionTerms contention_;
  ComputeStreams computing_;
  std::vector<EventHandle> kernel_ends_;      // [ranks]: of the kernel that runs
  std::vector<CommunicationStream> sending_;  // [ranks]
  std::vector<Wait> waits_;                   // [ranks]: for what they receive
  std::vector<SimTime> receive_times_;        // [ranks]: of kernels that only receive
  std::vector<std::size_t> next_;             // [ranks]: the instruction that runs
  TimelineRecorder record_;
  std::set<std::string> warnings_;
  Execution result_;
};

}  // namespace

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
