#include "sim/execute/exchange_plan.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <tuple>
#include <utility>

#include "sim/core/error.hpp"

namespace moesim {

namespace {

/// A layer has few exchanges: a dispatch, a combine, and the collectives of its attention group.
constexpr std::size_t kKept = 8;

/// All but the bytes.
bool same_shape(const Exchange& a, const Exchange& b) {
  const auto shape = [](const Transfer& transfer) {
    return std::tie(transfer.from, transfer.to, transfer.first_starter, transfer.starter_count, transfer.steps);
  };
  return std::equal(a.transfers.begin(), a.transfers.end(), b.transfers.begin(), b.transfers.end(),
                    [&](const Transfer& x, const Transfer& y) { return shape(x) == shape(y); }) &&
         a.starters == b.starters &&
         std::equal(a.orders.begin(), a.orders.end(), b.orders.begin(), b.orders.end(),
                    [](const auto& x, const auto& y) { return x.first == y.first && x.then == y.then; });
}

/// What of the terms goes into delays and uses.
bool same_paths(const ExchangeTerms& a, const ExchangeTerms& b) {
  const auto of_paths = [](const ExchangeTerms& terms) {
    return std::tie(terms.scale_up_efficiency, terms.network_efficiency, terms.step, terms.network_step,
                    terms.path_share, terms.network_path_share, terms.units_scale_up, terms.units_network,
                    terms.units_local);
  };
  return of_paths(a) == of_paths(b);
}

void sort_out_starters(const Exchange& exchange, std::span<const Duration> delays, ExchangePlan& plan) {
  const std::size_t ranks = plan.receiving.size();
  plan.first_start.assign(ranks + 1, 0);
  for (const Transfer& transfer : exchange.transfers) {
    ++plan.receiving[transfer.to.index()];
    ++plan.carried[transfer.to.index()];
    ++plan.carried[transfer.from.index()];
    for (const RankId starter : exchange.starters_of(transfer)) {
      ++plan.first_start[starter.index() + 1];
    }
  }
  std::partial_sum(plan.first_start.begin(), plan.first_start.end(), plan.first_start.begin());
  plan.starts.resize(plan.first_start.back());
  if (plan.starts.size() > exchange.transfers.size()) {
    for (const Transfer& transfer : exchange.transfers) {
      plan.starters_of.push_back(transfer.starter_count);
    }
  }
  std::vector<std::uint32_t> next(plan.first_start.begin(), plan.first_start.end() - 1);
  for (std::size_t t = 0; t < exchange.transfers.size(); ++t) {
    for (const RankId starter : exchange.starters_of(exchange.transfers[t])) {
      plan.starts[next[starter.index()]++] = {
          .transfer = static_cast<std::uint32_t>(t), .to = exchange.transfers[t].to, .delay = delays[t]};
    }
  }
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    std::stable_sort(plan.starts.begin() + plan.first_start[rank], plan.starts.begin() + plan.first_start[rank + 1],
                     [](const auto& a, const auto& b) { return a.delay < b.delay; });
  }
}

void sort_out_orders(const Exchange& exchange, ExchangePlan& plan) {
  if (exchange.orders.empty()) {
    return;
  }
  plan.parts.assign(exchange.transfers.size(), 1);
  plan.first_then.assign(exchange.transfers.size() + 1, 0);
  for (const Exchange::Order& order : exchange.orders) {
    ++plan.parts[order.then];
    ++plan.first_then[order.first + 1];
  }
  std::partial_sum(plan.first_then.begin(), plan.first_then.end(), plan.first_then.begin());
  plan.then.resize(exchange.orders.size());
  std::vector<std::uint32_t> place(plan.first_then.begin(), plan.first_then.end() - 1);
  for (const Exchange::Order& order : exchange.orders) {
    plan.then[place[order.first]++] = order.then;
  }
}

}  // namespace

ExchangePlan ExchangePlans::make(const Exchange& exchange, const ExchangeTerms& terms) {
  ExchangePlan plan;
  plan.receiving.assign(units_.size(), 0);
  plan.carried.assign(units_.size(), 0);
  sort_out_starters(exchange, terms_.delays(exchange, terms), plan);
  sort_out_orders(exchange, plan);
  // As launches come, so that they run through memory from front to back.
  for (ExchangePlan::Start& start : plan.starts) {
    add_uses(exchange.transfers[start.transfer], terms, start, plan);
  }
  return plan;
}

void ExchangePlans::add_uses(const Transfer& transfer, const ExchangeTerms& terms, ExchangePlan::Start& start,
                             ExchangePlan& plan) {
  using Domain = ExchangePlan::Start::Domain;
  start.first = static_cast<std::uint32_t>(plan.uses.size());
  terms_.uses(transfer, terms, units_[transfer.from.index()], plan.uses);
  ensure(plan.uses.size() <= std::numeric_limits<std::uint32_t>::max(), "an exchange has more than 2^32 hops");
  start.count = static_cast<std::uint32_t>(plan.uses.size()) - start.first;
  if (transfer.from != transfer.to) {
    const NetworkTerms::Path& path = terms_.path(transfer.from, transfer.to);
    start.domain = path.crosses_network ? Domain::kNetwork : Domain::kNode;
    for (const RouteHop& hop : path.route.hops) {
      plan.shares.push_back(hop.share);
    }
  }
  plan.shares.resize(plan.uses.size(), 0.0);
}

std::shared_ptr<const ExchangePlan> ExchangePlans::plan(const Exchange& exchange, const ExchangeTerms& terms) {
  for (const Known& known : known_) {
    if (same_paths(known.terms, terms) && same_shape(*known.like, exchange)) {
      return known.plan;
    }
  }
  if (known_.size() < kKept) {
    known_.emplace_back();
  }
  Known& known = known_[next_];
  next_ = (next_ + 1) % kKept;
  known = {&exchange, terms, std::make_shared<const ExchangePlan>(make(exchange, terms))};
  return known.plan;
}

}  // namespace moesim
