#include "sim/execute/exchange_state.hpp"

#include <algorithm>
#include <numeric>

#include "sim/core/error.hpp"

namespace moesim {

namespace {

std::span<const RankId> starters_of(const Exchange& exchange, const Transfer& transfer) {
  return std::span(exchange.starters).subspan(transfer.first_starter, transfer.starter_count);
}

}  // namespace

ExchangeState::ExchangeState(const Exchange& exchange, std::size_t ranks)
    : exchange_(exchange),
      first_(ranks + 1, 0),
      pending_(ranks, 0),
      complete_at_(ranks),
      arrived_(ranks, 0),
      waiting_(ranks, 0),
      last_send_(ranks) {
  for (const Transfer& transfer : exchange.transfers) {
    ++pending_[transfer.to.index()];
    missing_.push_back(transfer.starter_count);
    for (const RankId starter : starters_of(exchange, transfer)) {
      ++first_[starter.index() + 1];
    }
  }
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    first_[rank + 1] += first_[rank];
  }
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    arrived_[rank] = pending_[rank] == 0 ? 1 : 0;
  }
  started_.resize(first_.back());
  open_.assign(exchange.transfers.size(), 1);
  if (!exchange.orders.empty()) {
    first_then_.assign(exchange.transfers.size() + 1, 0);
    for (const Exchange::Order& order : exchange.orders) {
      ++open_[order.then];
      ++first_then_[order.first + 1];
    }
    std::partial_sum(first_then_.begin(), first_then_.end(), first_then_.begin());
    through_at_.resize(exchange.transfers.size());
    then_.resize(exchange.orders.size());
    std::vector<std::uint32_t> place(first_then_.begin(), first_then_.end() - 1);
    for (const Exchange::Order& order : exchange.orders) {
      then_[place[order.first]++] = order.then;
    }
  }
  std::vector<std::uint32_t> next(first_.begin(), first_.end() - 1);
  for (std::size_t t = 0; t < exchange.transfers.size(); ++t) {
    for (const RankId starter : starters_of(exchange, exchange.transfers[t])) {
      started_[next[starter.index()]++] = static_cast<std::uint32_t>(t);
    }
  }
}

std::optional<std::uint32_t> ExchangeState::send(RankId rank, SimTime now) {
  std::vector<std::uint32_t> batch;
  for (std::uint32_t i = first_[rank.index()]; i < first_[rank.index() + 1]; ++i) {
    const std::uint32_t transfer = started_[i];
    if (--missing_[transfer] == 0) {
      batch.push_back(transfer);
      SimTime& last = last_send_[exchange_.transfers[transfer].to.index()];
      last = std::max(last, now);
    }
  }
  if (batch.empty()) {
    return std::nullopt;
  }
  launches_.push_back(std::move(batch));
  return static_cast<std::uint32_t>(launches_.size() - 1);
}

void ExchangeState::finish(std::uint32_t transfer, SimTime at, std::vector<RankId>& complete) {
  through_.assign(1, transfer);
  if (!through_at_.empty()) {
    through_at_[transfer] = std::max(through_at_[transfer], at);
  }
  while (!through_.empty()) {
    const std::uint32_t current = through_.back();
    through_.pop_back();
    ensure(open_[current] > 0, "a transfer arrived twice");
    if (--open_[current] > 0) {
      continue;
    }
    const SimTime whole_at = through_at_.empty() ? at : through_at_[current];
    const RankId to = exchange_.transfers[current].to;
    ensure(pending_[to.index()] > 0, "a rank got more than was sent to it");
    complete_at_[to.index()] = std::max(complete_at_[to.index()], whole_at);
    if (--pending_[to.index()] == 0) {
      complete.push_back(to);
    }
    if (!first_then_.empty()) {
      for (std::uint32_t i = first_then_[current]; i < first_then_[current + 1]; ++i) {
        SimTime& then_at = through_at_[then_[i]];
        then_at = std::max(then_at, whole_at);
        through_.push_back(then_[i]);
      }
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
