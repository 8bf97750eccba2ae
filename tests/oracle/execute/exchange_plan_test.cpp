#include "sim/execute/exchange_plan.hpp"

#include <catch2/catch.hpp>

#include "sim/execute/exchange_state.hpp"
#include "simple_costs.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

/// Two nodes of two GPUs. Rank 0 sends to all others, its node's GPU last; rank 3 sends to rank 2 when rank 2 has sent,
/// too.
Exchange some_exchange(double bytes) {
  Exchange exchange;
  exchange.protocol = Protocol::kLowLatency;
  exchange.add(RankId(0), RankId(2), bytes);
  exchange.add(RankId(0), RankId(3), 2.0 * bytes);
  exchange.add(RankId(0), RankId(1), 3.0 * bytes);
  const std::vector<RankId> both{RankId(2), RankId(3)};
  exchange.add(RankId(3), RankId(2), bytes, both);
  return exchange;
}

struct Fixture {
  Cluster cluster = h200_nodes(2, 2, Paths::kWithLatency);
  CommunicationProfile profile = plain_network();
  NetworkTerms terms{cluster, profile, 4};
  std::vector<ResourceId> units{ResourceId(100), ResourceId(101), ResourceId(102), ResourceId(103)};
  ExchangePlans plans{terms, units};
};

}  // namespace

TEST_CASE("exchange plans: exchanges that differ in bytes share one, others do not") {
  Fixture f;
  const Exchange first = some_exchange(1e3);
  const Exchange alike = some_exchange(5e6);
  Exchange longer = some_exchange(1e3);
  longer.add(RankId(1), RankId(0), 1.0);
  Exchange elsewhere = some_exchange(1e3);
  elsewhere.transfers[0].to = RankId(1);
  Exchange ordered = some_exchange(1e3);
  ordered.orders.push_back({0, 3});
  const ExchangeTerms terms = f.terms.terms(first);
  const auto plan = f.plans.plan(first, terms);
  CHECK(f.plans.plan(alike, terms) == plan);
  CHECK(f.plans.plan(longer, terms) != plan);
  CHECK(f.plans.plan(elsewhere, terms) != plan);
  CHECK(f.plans.plan(ordered, terms) != plan);
  ExchangeTerms slower = terms;
  slower.network_efficiency = 0.5;
  CHECK(f.plans.plan(first, slower) != plan);
  // Fixed times are no part of a path.
  ExchangeTerms later = terms;
  later.launch = later.launch * 2.0;
  CHECK(f.plans.plan(first, later) == plan);
}

TEST_CASE("exchange plans: a rank's transfers start by delay, and take their route's links") {
  Fixture f;
  const Exchange exchange = some_exchange(1e3);
  const auto plan = f.plans.plan(exchange, f.terms.terms(exchange));
  REQUIRE(plan->first_start == std::vector<std::uint32_t>{0, 3, 3, 4, 5});
  // A path over the network is longer here, for both rails alike, so that those start by index.
  ExchangeTerms terms = f.terms.terms(exchange);
  terms.network_step = seconds(50e-6);
  const auto slow = f.plans.plan(exchange, terms);
  CHECK(slow->starts[0].transfer == 2);
  CHECK(slow->starts[0].domain == ExchangePlan::Start::Domain::kNode);
  CHECK(slow->starts[1].transfer == 0);
  CHECK(slow->starts[1].domain == ExchangePlan::Start::Domain::kNetwork);
  CHECK(slow->starts[2].transfer == 1);
  for (std::size_t i = 1; i < 3; ++i) {
    CHECK(plan->starts[i - 1].delay <= plan->starts[i].delay);
  }
  for (const ExchangePlan::Start& start : plan->starts) {
    const Transfer& transfer = exchange.transfers[start.transfer];
    CHECK(start.to == transfer.to);
    const Route route = f.cluster.route(transfer.from, transfer.to);
    REQUIRE(start.count == route.hops.size());
    for (std::uint32_t i = 0; i < start.count; ++i) {
      CHECK(plan->uses[start.first + i].resource == ResourceId(route.hops[i].link.index()));
      CHECK(plan->shares[start.first + i] == route.hops[i].share);
    }
  }
  CHECK(plan->receiving == std::vector<std::uint32_t>{0, 1, 2, 1});
  CHECK(plan->starters_of == std::vector<std::uint32_t>{1, 1, 1, 2});
}

TEST_CASE("exchange state: what several ranks start is launched with the last of them") {
  Fixture f;
  const Exchange exchange = some_exchange(1e3);
  ExchangeState state(exchange, f.plans.plan(exchange, f.terms.terms(exchange)));
  CHECK(state.launched(state.send(RankId(3), {}, {})).empty());
  CHECK(state.launched(state.send(RankId(0), {}, {})).size() == 3);
  const auto last = state.launched(state.send(RankId(2), microseconds(5), microseconds(7)));
  REQUIRE(last.size() == 1);
  CHECK(state.plan().starts[last[0]].transfer == 3);
  CHECK(state.last_send(RankId(2)) == microseconds(7));
  CHECK(state.last_asked(RankId(2)) == microseconds(5));
  ExchangeState::Finished finished;
  state.finish(3, microseconds(9), finished);
  CHECK(finished.complete.empty());
  state.finish(0, microseconds(8), finished);
  CHECK(finished.complete == std::vector<RankId>{RankId(2)});
  CHECK(state.complete_at(RankId(2)) == microseconds(9));
}
