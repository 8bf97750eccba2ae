#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "models/architecture/architecture.hpp"
#include "sim/program/operators.hpp"
#include "sim/program/program.hpp"

/// Two-batch overlap: a step's batch is split in two micro-batches, so that the one computes while the other's tokens
/// are on their way.
namespace moesim {

/// What servers split a batch into (DeepSeek's "two micro-batches", SGLang's two-batch overlap, vLLM's dual-batch
/// overlap).
inline constexpr int kMostMicroBatches = 2;

/// Part of what each attention group computes: tokens `first_token` … `first_token` + batch.tokens() − 1 of the
/// group's, which stand sequence by sequence.
struct MicroBatch {
  BatchShape batch;
  std::int64_t first_token = 0;
};

/// The parts, in order; one where `count` is 1. Sequences stay whole, ⌊n/2⌋ of n in the first part (SGLang,
/// two_batch_overlap.py, compute_split_seq_index). One prompt by itself is cut in two parts of tokens, of which the
/// second attends to the first's keys too (deepseek-ai/profile-data: "the same prompt may be split between them").
std::vector<MicroBatch> split_batch(const BatchShape& batch, int count);

/// Why a batch cannot be split; empty where it can.
std::string_view split_obstacle(const Model& model, const BatchShape& batch);

/// What a micro-batch does between two points at which the other one has its turn, [ranks].
using Turn = std::vector<std::vector<Instruction>>;

/// How many turns the first micro-batch is ahead of the second (SGLang's tbo_delta_stages).
///
/// A layer's turns, by SGLang's operations_strategy.py (_compute_moe_deepseek_blog_prefill and …_decode, which follow
/// deepseek-ai/profile-data). In prefill three, of which the last goes on with the next layer's first:
///   attention, router, dispatch sent | dispatch received, experts, combine sent | shared experts, combine received
/// and in decode five, as DeepSeek's production servers have them (deepseek-ai/open-infra-index, day 6):
///   projections | attention, router | dispatch sent, shared experts | dispatch received, experts, combine sent |
///   combine received
std::size_t turns_ahead(StepPhase phase);

/// Appends the turns of all micro-batches to the ranks' streams: `ahead` turns of the first, then one of each by turns,
/// then what is left (SGLang, operations.py, execute_overlapped_operations).
void interleave(std::span<const std::vector<Turn>> micro_batches, std::size_t ahead,
                std::vector<std::vector<Instruction>>& ranks);

}  // namespace moesim
