#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "workloads/routing/source.hpp"
#include "workloads/routing/token_trace.hpp"

namespace moesim {

/// Replays recorded tokens. With T tokens in the trace and a shift drawn from the seed:
///   the i-th of D decode tokens (runs of one) takes recorded token (shift + ⌊i·T/D⌋) mod T: spread evenly, so that
///   they come from as many recorded sequences as can be;
///   the runs of prefill tokens take runs of recorded tokens, one after the other from the shift on; where the
///   recording says where its sequences begin, each run begins at the next such place.
/// A batch of T tokens thus takes each recorded token once. Where the batch needs more than there are, tokens are
/// reused, with a warning that says how often.
class RecordedSource final : public RoutingSource {
 public:
  explicit RecordedSource(TokenTrace trace) : trace_(std::move(trace)) {}

  [[nodiscard]] RoutingShape shape() const override { return trace_.shape(); }
  [[nodiscard]] StepRouting draw(const TokenBatch& batch, std::uint64_t seed, const TaskPool& pool) const override;
  [[nodiscard]] std::string provenance() const override;

  /// The recorded token that each of the batch's tokens takes.
  [[nodiscard]] std::vector<std::size_t> choose(const TokenBatch& batch, std::uint64_t seed) const;

 private:
  TokenTrace trace_;
};

}  // namespace moesim
