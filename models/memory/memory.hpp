#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "models/architecture/architecture.hpp"
#include "models/hardware/hardware.hpp"
#include "models/kernels/precision.hpp"
#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"

/// What one rank must hold while it serves, worked out before anything runs. All shapes are those of one rank.
namespace moesim {

/// How tensor-parallel ranks share the KV cache.
enum class KvSharding {
  kHeads,  ///< by head, as far as there are heads; a latent cache has none, so every rank holds all of it
  kTokens  ///< by token (decode context parallelism): every rank holds 1/tensor_parallel of every sequence
};

/// How tokens reach other ranks' experts, which decides the buffers kept for it.
enum class ExpertExchange { kNone, kHighThroughput, kLowLatency, kGathered };

/// Which form attention takes: prompts expand latent keys and values, generation absorbs the expansion.
enum class ServingPhase { kContext, kGeneration };

struct MemoryRequest {
  const Model& model;
  Precision precision = {};
  int tensor_parallel = 1;                     ///< of everything but the routed experts
  int expert_tensor_parallel = 1;              ///< ranks that share one expert's matrices
  int shared_tensor_parallel = 1;              ///< ranks that share the shared experts' matrices
  int expert_ranks = 1;                        ///< ranks that the experts are spread over
  std::vector<std::size_t> expert_slots = {};  ///< per MoE layer: experts on this rank, replicas included
  ServingPhase phase = ServingPhase::kGeneration;
  std::int64_t sequences = 0;            ///< on this rank at once
  std::int64_t tokens_per_sequence = 0;  ///< cached, the step's new ones included
  std::int64_t encoder_tokens = 0;       ///< per sequence, for cross-attention
  std::int64_t step_tokens = 0;          ///< that a rank computes in a step
  int micro_batches = 1;                 ///< in which MoE layers compute them, in turn
  /// That the model's modules of multi-token prediction draft for each sequence in a step, which verifies them in the
  /// next: step_tokens = sequences·(1 + draft_tokens).
  int draft_tokens = 0;
  std::optional<std::int64_t> expert_rows =
      std::nullopt;  ///< rows of a micro-batch that reach the rank's experts; absent: its tokens·k, balanced
  ExpertExchange exchange = ExpertExchange::kNone;
  std::int64_t max_dispatch_tokens = 0;  ///< per rank and micro-batch that low-latency buffers are made for
  KvSharding kv_sharding = KvSharding::kHeads;
  std::int64_t kv_block = 1;     ///< tokens in a page of the cache; every sequence fills whole pages
  double memory_fraction = 1.0;  ///< of the HBM that the server may use
  /// Which numbers of expert ranks and of tensor-parallel ranks check_fits may propose; empty: any.
  std::function<bool(int expert_ranks, int tensor_parallel)> allowed = {};
  /// Outside everything named here: CUDA context, workspaces, graphs 3.5 GB, NCCL 0.4 GB (aiconfigurator).
  Bytes reserve = bytes(3.9e9);
};

struct MemoryFootprint {
  Bytes embedding;  ///< token embedding and LM head
  Bytes mixer_weights;
  Bytes dense_weights;
  Bytes router;
  Bytes shared_expert_weights;
  Bytes expert_weights;
  Bytes other_weights;  ///< norms and what the shapes do not say
  Bytes draft_modules;  ///< weights of what drafts tokens; nothing where none are drafted
  Bytes kv_cache;
  Bytes recurrent_state;
  Bytes activations;
  Bytes communication_buffers;
  Bytes reserve;

  static constexpr std::string_view kDraftModules = "draft module weights";
  struct Part {
    std::string_view name;
    Bytes size;
  };
  /// In the order above; names as in a sentence.
  [[nodiscard]] std::array<Part, 13> parts() const;
  [[nodiscard]] Bytes total() const;
  [[nodiscard]] Bytes weights() const;
};

MemoryFootprint footprint(const MemoryRequest& request);

/// A rank's share of an attention or recurrent layer: total/TP + replicated·(1 − 1/TP), since a replicated parameter is
/// on every rank instead of one in TP.
double mixer_parameters_per_rank(const Block& block, int hidden, int tensor_parallel);

/// What one more token adds to a rank's cache, before any sliding window is full.
Bytes kv_bytes_per_token(const Model& model, DataType kv, int tensor_parallel,
                         KvSharding sharding = KvSharding::kHeads);
/// Modules that draft request.draft_tokens: one for each, as far as the model has them.
int draft_modules(const MemoryRequest& request);
/// Cache of one sequence of `request.tokens_per_sequence` tokens: windowed layers hold at most their window, modules
/// that draft as much as a layer of theirs.
Bytes kv_bytes_per_sequence(const MemoryRequest& request);
/// State that recurrent layers keep per sequence, however long it is.
Bytes recurrent_bytes_per_sequence(const Model& model, const Precision& precision, int tensor_parallel);

/// The most that is alive at once in a step beside weights and cache.
Bytes activation_bytes(const MemoryRequest& request);
/// What DeepEP allocates for `request.exchange`; where tokens are gathered, all ranks' tokens before the experts and
/// what the experts made of them, before it is reduced and scattered.
Bytes communication_buffer_bytes(const MemoryRequest& request);

/// Tokens that the caches of all sequences of one rank may hold together in what is left of `accelerator`, in whole
/// pages. Windowed layers count as full windows for each of `request.sequences`, recurrent layers as their states;
/// `request.tokens_per_sequence` does not matter. Absent: nothing grows with the tokens. Zero: not even the rest fits.
std::optional<std::int64_t> kv_capacity_tokens(const MemoryRequest& request, const Accelerator& accelerator);

/// Throws ModelError at `place` unless the footprint fits: by how much it does not, its largest parts, and which
/// single changes would make it fit (each was computed).
void check_fits(const MemoryRequest& request, const Accelerator& accelerator, const Place& place);

}  // namespace moesim
