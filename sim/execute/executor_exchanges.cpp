#include <algorithm>

#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"
#include "sim/execute/executor.hpp"

namespace moesim {

namespace {

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

}  // namespace

TimeCategory exposed_category(StepOperator op) {
  return op == StepOperator::kDispatch  ? TimeCategory::kExposedDispatch
         : op == StepOperator::kCombine ? TimeCategory::kExposedCombine
                                        : TimeCategory::kExposedCollective;
}

void Executor::share(double bytes, std::span<const Use> uses, double fairness, TransferOnWay transfer) {
  on_way_.resize(fluid_.start(now_, bytes, uses, fairness).index());
  on_way_.push_back(transfer);
}

Executor::RunningExchange& Executor::running(std::uint32_t index) {
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

bool Executor::send_next(RankId rank, std::uint32_t index) {
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

void Executor::enter(RankId rank) {
  const auto [index, asked] = sending_[rank.index()].queue.front();
  hold(rank, index, +1);
  post(rank, index, asked);
  if (exchanges_[index]->state.carries_nothing(rank)) {
    leave(rank, index);
  }
}

void Executor::leave(RankId rank, std::uint32_t index) {
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

void Executor::post(RankId rank, std::uint32_t index, SimTime asked) {
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

void Executor::launch(const Launch& launch) {
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

void Executor::pass_alone(const Launch& launch) {
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

void Executor::count_bytes(const ExchangePlan& plan, const ExchangePlan::Start& start, double bytes) {
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

void Executor::pass(std::uint32_t index, std::uint32_t transfer) {
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

void Executor::arrive(std::uint32_t index, RankId to) {
  if (exchanges_[index]->state.arrive(to)) {
    come(index, to);
  }
}

void Executor::come(std::uint32_t index, RankId rank) {
  const ExchangeState& state = exchanges_[index]->state;
  waits_[rank.index()] = {state.last_asked(rank), state.last_send(rank), exchanges_[index]->flowing[rank.index()]};
  const SimTime end = std::max(now_, record_.since(rank) + receive_time(rank));
  if (end > now_) {
    queue_.push(end, Phase::kCompletion, ReceiveEnd{rank});
  } else {
    end_receive(rank, now_ - receive_time(rank));
  }
}

void Executor::end_receive(RankId rank, SimTime waited) {
  const std::uint32_t index = std::get<Receive>(program_.ranks[rank.index()][next_[rank.index()]]).exchange;
  const Exchange& exchange = program_.exchanges[index];
  const Wait& wait = waits_[rank.index()];
  const SimTime begin = record_.since(rank);
  const SimTime asked = std::clamp(wait.asked, begin, waited);
  const SimTime sent = std::clamp(wait.sent, asked, waited);
  const SimTime flowing = std::clamp(wait.flowing, sent, waited);
  const TimeCategory exposed = exposed_category(exchange.op);
  record_.add(rank, asked, TimeCategory::kImbalanceWait, exchange);
  record_.add(rank, sent, exposed, exchange);
  record_.add(rank, flowing, TimeCategory::kOverhead, exchange);
  record_.add(rank, now_, exposed, exchange);
  ++next_[rank.index()];
  left_behind(rank, index);
  advance_rank(rank);
}

SimTime Executor::receive_time(RankId rank) {
  const std::uint32_t index = std::get<Receive>(program_.ranks[rank.index()][next_[rank.index()]]).exchange;
  if (program_.exchanges[index].kernels != ExchangeKernels::kSendAndReceive) {
    return {};
  }
  return receive_times_[rank.index()];
}

void Executor::left_behind(RankId rank, std::uint32_t index) {
  const Exchange& exchange = program_.exchanges[index];
  if (has_stream(exchange)) {
    leave(rank, index);
  } else if (exchange.kernels != ExchangeKernels::kSendAndReceive) {
    hold(rank, index, -1);
  }
}

void Executor::release(std::uint32_t index) {
  if (exchanges_[index] && exchanges_[index]->state.done()) {
    exchanges_[index].reset();
  }
}

void Executor::hold(RankId rank, std::uint32_t index, int change) {
  const ExchangeTerms& terms = running(index).terms;
  if (terms.compute_share > 0.0 || terms.memory_share > 0.0) {
    const auto end = computing_.hold(rank, now_, {change * terms.compute_share, change * terms.memory_share});
    if (end) {
      queue_.cancel(kernel_ends_[rank.index()]);
      kernel_ends_[rank.index()] = queue_.push(*end, Phase::kCompletion, KernelEnd{rank});
    }
  }
}

bool Executor::receive(RankId rank, std::uint32_t index) {
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
  record_.add(rank, now_, TimeCategory::kOverhead, program_.exchanges[index]);
  left_behind(rank, index);
  release(index);
  return true;
}

}  // namespace moesim
