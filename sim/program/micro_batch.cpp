#include "sim/program/micro_batch.hpp"

#include <algorithm>
#include <variant>

#include "sim/core/error.hpp"

namespace moesim {

std::vector<MicroBatch> split_batch(const BatchShape& batch, int count) {
  if (count == 1) {
    return {{batch, 0}};
  }
  ensure(count == kMostMicroBatches, "a batch is split in one or two");
  BatchShape first = batch;
  BatchShape second = batch;
  if (batch.sequences > 1) {
    first.sequences = batch.sequences / 2;
    second.sequences = batch.sequences - first.sequences;
  } else {
    first.query = batch.query / 2;
    second.query = batch.query - first.query;
    first.keys = batch.keys - second.query;
  }
  return {{first, 0}, {second, first.tokens()}};
}

std::string_view split_obstacle(const Model& model, const BatchShape& batch) {
  if (batch.sequences > 1) {
    return {};
  }
  if (batch.query < 2) {
    return "a data-parallel rank has a single token";
  }
  if (batch.phase == StepPhase::kDecode) {
    return "a data-parallel rank has a single sequence";
  }
  const auto& layers = model.layers();
  const bool encodes = std::any_of(layers.begin(), layers.end(), [](const Layer& layer) {
    return layer.stack == Stack::kEncoder || layer.block->cross_attention.has_value();
  });
  return encodes ? "a data-parallel rank has one prompt, whose tokens an encoder all needs at once" : "";
}

std::size_t turns_ahead(StepPhase phase) { return phase == StepPhase::kPrefill ? 0 : 2; }

void interleave(std::span<const std::vector<Turn>> micro_batches, std::size_t ahead,
                std::vector<std::vector<Instruction>>& ranks) {
  std::size_t turns = 0;
  for (std::size_t i = 0; i < micro_batches.size(); ++i) {
    turns = std::max(turns, micro_batches[i].size() + i * ahead);
  }
  for (std::size_t turn = 0; turn < turns; ++turn) {
    for (std::size_t i = 0; i < micro_batches.size(); ++i) {
      const std::size_t late = i * ahead;
      if (turn < late || turn - late >= micro_batches[i].size()) {
        continue;
      }
      const Turn& own = micro_batches[i][turn - late];
      for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
        ranks[rank].insert(ranks[rank].end(), own[rank].begin(), own[rank].end());
      }
    }
  }
}

}  // namespace moesim
