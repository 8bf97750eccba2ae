#include "sim/execute/bound_distance.hpp"

#include <algorithm>
#include <iterator>
#include <set>

namespace moesim {

std::optional<Execution::Distance> distance_of_bound(const Program& program,
                                                     const std::function<Execution(const Program&, Fidelity)>& run) {
  std::set<std::uint32_t> exchanging;
  for (const Exchange& exchange : program.exchanges) {
    if (std::any_of(exchange.transfers.begin(), exchange.transfers.end(),
                    [](const Transfer& transfer) { return transfer.bytes > 0.0; })) {
      exchanging.insert(exchange.stage);
    }
  }
  if (exchanging.size() > 1) {
    exchanging.erase(0);  // what comes before the layers is no measure of them
  }
  if (exchanging.empty()) {
    return std::nullopt;
  }
  const std::uint32_t first = *exchanging.begin();
  const std::uint32_t last = exchanging.size() > 1 ? *std::next(exchanging.begin()) : first;
  const Program part = stages_of(program, 0, last);
  const Execution shared = run(part, Fidelity::kFlow);
  const Execution bound = run(part, Fidelity::kBound);
  const auto stretch = [&](const Execution& execution) {
    return (execution.stage_end[last] - (first > 0 ? execution.stage_end[first - 1] : SimTime())).duration();
  };
  return Execution::Distance{first, last, (stretch(shared) - stretch(bound)) / stretch(shared)};
}

}  // namespace moesim
