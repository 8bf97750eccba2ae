#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/config/describe.hpp"
#include "sim/core/task_pool.hpp"
#include "sim/execute/all_to_all.hpp"
#include "sim/planning/migration.hpp"
#include "sim/scenario/run.hpp"

namespace moesim {

/// Experts are placed anew every so many steps, from the loads since the last time.
struct RebalanceConfig {
  std::size_t periods = 8;
  std::size_t every_steps = 1000;
  std::vector<std::string> strategies = {"eplb-global", "eplb-vllm", "search"};

  static constexpr std::string_view kDoc =
      "Re-balancing over time: a recording is cut into periods; in each the experts lie where the one before says";
  template <class F>
  static void describe(F& f) {
    using C = RebalanceConfig;
    f.optional("periods", &C::periods,
               "Parts that each recording is cut into, in its order: the first is learnt from only, the others are "
               "judged",
               Rules::between(2, 10000));
    f.optional("every_steps", &C::every_steps, "Steps that each part stands for, between two moves of weights",
               Rules::between(1, 1 << 30));
    f.optional("strategies", &C::strategies, "`moesim list placements`");
  }
};

/// One part of a recording under one strategy. Step times in seconds, summed over layers like those of a comparison.
struct RebalancedPeriod {
  double once = 0.0;        ///< experts as the first part says, never moved
  double rebalanced = 0.0;  ///< as the part before says
  double hindsight = 0.0;   ///< as this part says itself: what nobody can know
  Migration moved;          ///< from where they were in the part before
};

/// What moves between two parts, in the mean.
struct MeanMigration {
  double copies = 0.0;
  double bytes = 0.0;
  double time = 0.0;  ///< s
};

/// One strategy on one trace, all parts but the first.
struct RebalancingRow {
  std::string strategy;
  std::string trace;
  std::vector<RebalancedPeriod> periods;

  [[nodiscard]] double once() const { return mean(&RebalancedPeriod::once); }
  [[nodiscard]] double rebalanced() const { return mean(&RebalancedPeriod::rebalanced); }
  [[nodiscard]] double hindsight() const { return mean(&RebalancedPeriod::hindsight); }
  /// Mean over the parts, the first of which moves nothing.
  [[nodiscard]] MeanMigration moved() const;
  [[nodiscard]] double mean(double RebalancedPeriod::* what) const;
};

/// Times each strategy of `config` on the step's recording, which has to have been recorded over time: choices of
/// tokens, or counts of several steps. Weights move all at once over idle links while no step runs. Throws ConfigError
/// at `place`, which is the comparison's, or ModelError; warnings are added to `warnings`.
std::vector<RebalancingRow> compare_rebalancing(const RebalanceConfig& config, const PreparedStep& step,
                                                Fidelity fidelity, const std::string& trace, const Place& place,
                                                const TaskPool& pool, std::vector<std::string>& warnings);

}  // namespace moesim
