#include "sim/execute/exchange_state.hpp"

#include <algorithm>
#include <utility>

#include "sim/core/error.hpp"

namespace moesim {

ExchangeState::ExchangeState(const Exchange& exchange, std::shared_ptr<const ExchangePlan> plan)
    : exchange_(exchange),
      plan_(std::move(plan)),
      missing_(plan_->starters_of),
      pending_(plan_->receiving),
      open_(plan_->parts),
      through_at_(plan_->parts.size()),
      complete_at_(pending_.size()),
      arrived_(pending_.size(), 0),
      waiting_(pending_.size(), 0),
      last_send_(pending_.size()),
      last_asked_(pending_.size()),
      carried_(plan_->carried),
      carried_until_(pending_.size()) {
  launched_.reserve(exchange.transfers.size());
  for (std::size_t rank = 0; rank < pending_.size(); ++rank) {
    arrived_[rank] = pending_[rank] == 0 ? 1 : 0;
  }
}

ExchangeState::Batch ExchangeState::send(RankId rank, SimTime asked, SimTime now) {
  const auto first = static_cast<std::uint32_t>(launched_.size());
  for (std::uint32_t i = plan_->first_start[rank.index()]; i < plan_->first_start[rank.index() + 1]; ++i) {
    const ExchangePlan::Start& start = plan_->starts[i];
    if (missing_.empty() || --missing_[start.transfer] == 0) {
      launched_.push_back(i);
      SimTime& last = last_send_[start.to.index()];
      last = std::max(last, now);
      SimTime& last_asked = last_asked_[start.to.index()];
      last_asked = std::max(last_asked, asked);
    }
  }
  return {first, static_cast<std::uint32_t>(launched_.size())};
}

/// All of a transfer is there, with what came before it on its path.
void ExchangeState::settle(std::uint32_t transfer, SimTime whole_at, Finished& finished) {
  const RankId to = exchange_.transfers[transfer].to;
  ensure(pending_[to.index()] > 0, "a rank got more than was sent to it");
  complete_at_[to.index()] = std::max(complete_at_[to.index()], whole_at);
  if (--pending_[to.index()] == 0) {
    finished.complete.push_back(to);
  }
  carry(to, whole_at, finished);
  carry(exchange_.transfers[transfer].from, whole_at, finished);
}

void ExchangeState::carry(RankId rank, SimTime at, Finished& finished) {
  SimTime& until = carried_until_[rank.index()];
  until = std::max(until, at);
  if (--carried_[rank.index()] == 0) {
    finished.through.push_back(rank);
  }
}

void ExchangeState::finish_hop(std::uint32_t transfer, SimTime at, Finished& finished) {
  through_.assign(1, transfer);
  through_at_[transfer] = std::max(through_at_[transfer], at);
  while (!through_.empty()) {
    const std::uint32_t current = through_.back();
    through_.pop_back();
    ensure(open_[current] > 0, "a transfer arrived twice");
    if (--open_[current] > 0) {
      continue;
    }
    settle(current, through_at_[current], finished);
    for (std::uint32_t i = plan_->first_then[current]; i < plan_->first_then[current + 1]; ++i) {
      SimTime& then_at = through_at_[plan_->then[i]];
      then_at = std::max(then_at, through_at_[current]);
      through_.push_back(plan_->then[i]);
    }
  }
}

bool ExchangeState::arrive(RankId rank) {
  ensure(pending_[rank.index()] == 0 && arrived_[rank.index()] == 0, "a rank has everything once");
  arrived_[rank.index()] = 1;
  received_ += waiting_[rank.index()] != 0 ? 1 : 0;
  return waiting_[rank.index()] != 0;
}

bool ExchangeState::receive(RankId rank) {
  if (arrived_[rank.index()] != 0) {
    ++received_;
    return true;
  }
  waiting_[rank.index()] = 1;
  return false;
}

}  // namespace moesim
