#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "sim/core/task_pool.hpp"
#include "workloads/routing/count_trace.hpp"
#include "workloads/routing/types.hpp"

namespace moesim {

/// What decides which experts a step's tokens go to.
class RoutingSource {
 public:
  virtual ~RoutingSource() = default;

  /// Layers, k and experts; tokens are those of the recording, or 0 where any number can be drawn.
  [[nodiscard]] virtual RoutingShape shape() const = 0;

  /// The choices of the batch's tokens in all layers: k distinct experts each. The same batch and seed give the same
  /// bytes with any number of threads.
  [[nodiscard]] virtual StepRouting draw(const TokenBatch& batch, std::uint64_t seed, const TaskPool& pool) const = 0;

  /// The counts, where the source is driven by counts.
  [[nodiscard]] virtual std::optional<CountTrace> recorded_counts() const { return std::nullopt; }

  /// One line for the result: "drawn from the recorded counts of FILE".
  [[nodiscard]] virtual std::string provenance() const = 0;
};

}  // namespace moesim
