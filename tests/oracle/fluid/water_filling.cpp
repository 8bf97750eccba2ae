#include "tests/oracle/fluid/water_filling.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace moesim::oracle {

std::vector<long double> water_fill(const std::vector<double>& capacities, const std::vector<const Arrival*>& live) {
  std::vector<long double> rate(live.size(), 0.0L);
  std::vector<char> fixed(live.size(), 0);
  while (std::find(fixed.begin(), fixed.end(), 0) != fixed.end()) {
    std::vector<long double> free(capacities.begin(), capacities.end());
    std::vector<long double> weight(capacities.size(), 0.0L);
    long double level = std::numeric_limits<long double>::infinity();
    for (std::size_t a = 0; a < live.size(); ++a) {
      for (const Use& use : live[a]->uses) {
        const long double w = use.weight;
        free[use.resource.index()] -= fixed[a] != 0 ? w * rate[a] : 0.0L;
        weight[use.resource.index()] += fixed[a] != 0 ? 0.0L : w * live[a]->fairness;
      }
      if (fixed[a] == 0) {
        level = std::min(level, static_cast<long double>(live[a]->rate_cap) / live[a]->fairness);
      }
    }
    for (std::size_t r = 0; r < capacities.size(); ++r) {
      if (weight[r] > 0.0L) {
        level = std::min(level, free[r] / weight[r]);
      }
    }
    const long double reached = level * (1.0L + 1e-15L);
    for (std::size_t a = 0; a < live.size(); ++a) {
      if (fixed[a] != 0) {
        continue;
      }
      bool stopped = live[a]->rate_cap <= reached * live[a]->fairness;
      for (const Use& use : live[a]->uses) {
        stopped = stopped || free[use.resource.index()] <= reached * weight[use.resource.index()];
      }
      if (stopped) {
        rate[a] = level * live[a]->fairness;
        fixed[a] = 1;
      }
    }
  }
  return rate;
}

std::vector<std::int64_t> completion_ticks(const Scenario& scenario) {
  const std::size_t count = scenario.arrivals.size();
  std::vector<std::int64_t> finish(count, 0);
  std::vector<long double> left(count);
  for (std::size_t a = 0; a < count; ++a) {
    left[a] = scenario.arrivals[a].amount;
  }
  std::vector<std::size_t> live;
  std::size_t arrived = 0;
  std::int64_t now = 0;
  while (arrived < count || !live.empty()) {
    while (arrived < count && scenario.arrivals[arrived].start.ticks() <= now) {
      live.push_back(arrived++);
    }
    std::vector<const Arrival*> specs;
    for (const std::size_t a : live) {
      specs.push_back(&scenario.arrivals[a]);
    }
    const std::vector<long double> rate = water_fill(scenario.capacities, specs);
    std::int64_t next = arrived < count ? scenario.arrivals[arrived].start.ticks() : INT64_MAX;
    for (std::size_t i = 0; i < live.size(); ++i) {
      finish[live[i]] = now + static_cast<std::int64_t>(std::ceil(left[live[i]] / rate[i] * 1e12L - 1e-3L));
      next = std::min(next, finish[live[i]]);
    }
    std::vector<std::size_t> still_live;
    for (std::size_t i = 0; i < live.size(); ++i) {
      left[live[i]] -= rate[i] * static_cast<long double>(next - now) * 1e-12L;
      if (finish[live[i]] > next) {
        still_live.push_back(live[i]);
      }
    }
    live = still_live;
    now = next;
  }
  return finish;
}

}  // namespace moesim::oracle
