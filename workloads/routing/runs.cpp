#include "workloads/routing/runs.hpp"

#include <limits>

namespace moesim {

std::vector<TokenRun> runs_of(const TokenBatch& batch) {
  return runs_of(batch, std::numeric_limits<std::size_t>::max());
}

std::vector<TokenRun> runs_of(const TokenBatch& batch, std::size_t longest) {
  std::vector<TokenRun> runs;
  for (std::size_t i = 0; i < batch.tokens.size(); ++i) {
    const TokenSlot& slot = batch.tokens[i];
    const bool follows = i > 0 && batch.tokens[i - 1].sequence == slot.sequence &&
                         batch.tokens[i - 1].position + 1 == slot.position && runs.back().count < longest;
    if (follows) {
      ++runs.back().count;
    } else {
      runs.push_back({i, 1});
    }
  }
  return runs;
}

}  // namespace moesim
