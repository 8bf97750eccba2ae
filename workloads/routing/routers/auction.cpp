#include "workloads/routing/routers/auction.hpp"

#include <functional>
#include <limits>
#include <queue>
#include <utility>

#include "sim/core/error.hpp"

namespace moesim {

namespace {

/// What a token pays for a place of an expert. The cheapest is on top, and goes to the next bidder.
using Bid = std::pair<double, std::size_t>;
using Bids = std::priority_queue<Bid, std::vector<Bid>, std::greater<>>;

struct Offer {
  std::size_t expert = 0;
  double value = -std::numeric_limits<double>::infinity();
};

}  // namespace

std::vector<std::size_t> auction_assignment(std::span<const float> scores, std::size_t experts,
                                            std::span<const std::size_t> quota, double epsilon) {
  const std::size_t tokens = scores.size() / experts;
  std::vector<Bids> places(experts);
  std::vector<double> price(experts, 0.0);  // of the expert's cheapest place
  std::size_t room = 0;
  for (std::size_t e = 0; e < experts; ++e) {
    room += quota[e];
    if (quota[e] == 0) {
      price[e] = std::numeric_limits<double>::infinity();
    }
  }
  ensure(room == tokens, "experts have as many places as there are tokens");
  std::vector<std::size_t> assigned(tokens, experts);
  std::vector<std::size_t> waiting(tokens);
  for (std::size_t t = 0; t < tokens; ++t) {
    waiting[t] = tokens - 1 - t;
  }
  while (!waiting.empty()) {
    const std::size_t token = waiting.back();
    waiting.pop_back();
    Offer best;
    Offer second;
    for (std::size_t e = 0; e < experts; ++e) {
      const double value = scores[token * experts + e] - price[e];
      if (value > best.value) {
        second = best;
        best = {e, value};
      } else if (value > second.value) {
        second = {e, value};
      }
    }
    const bool alone = second.value == -std::numeric_limits<double>::infinity();
    const double bid = price[best.expert] + (alone ? 0.0 : best.value - second.value) + epsilon;
    Bids& taken = places[best.expert];
    taken.emplace(bid, token);
    assigned[token] = best.expert;
    if (taken.size() > quota[best.expert]) {
      assigned[taken.top().second] = experts;
      waiting.push_back(taken.top().second);
      taken.pop();
    }
    // A place that nobody has taken is free.
    price[best.expert] = taken.size() < quota[best.expert] ? 0.0 : taken.top().first;
  }
  return assigned;
}

}  // namespace moesim
