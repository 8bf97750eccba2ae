#include "sim/execute/exchange_state.hpp"

#include <algorithm>

#include "sim/core/error.hpp"

namespace moesim {

namespace {

std::span<const RankId> starters_of(const Exchange& exchange, const Transfer& transfer) {
  return std::span(exchange.starters).subspan(transfer.first_starter, transfer.starter_count);
}

}  // namespace

ExchangeState::ExchangeState(const Exchange& exchange, std::size_t ranks)
    : exchange_(exchange), first_(ranks + 1, 0), pending_(ranks, 0), waiting_(ranks, 0), last_send_(ranks) {
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
  started_.resize(first_.back());
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

bool ExchangeState::arrive(RankId to) {
  ensure(pending_[to.index()] > 0, "a rank got more than was sent to it");
  const bool all = --pending_[to.index()] == 0;
  if (all && waiting_[to.index()] != 0) {
    ++received_;
  }
  return all;
}

bool ExchangeState::receive(RankId rank) {
  if (pending_[rank.index()] == 0) {
    ++received_;
    return true;
  }
  waiting_[rank.index()] = 1;
  return false;
}

}  // namespace moesim
