#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "models/memory/cache.hpp"
#include "sim/core/error.hpp"
#include "sim/core/units.hpp"

namespace moesim {
namespace {

Bytes usable(const MemoryRequest& request, const Accelerator& accelerator) {
  return request.memory_fraction * accelerator.memory;
}

bool fits(const MemoryRequest& request, const Accelerator& accelerator) {
  return footprint(request).total() <= usable(request, accelerator);
}

/// The greatest value in 1 … `most` for which `good` holds, which it does up to some value and not beyond; 0: none.
template <class Predicate>
std::int64_t greatest(std::int64_t most, Predicate good) {
  std::int64_t low = 0;
  std::int64_t high = most;
  while (low < high) {
    const std::int64_t middle = low + (high - low + 1) / 2;
    if (good(middle)) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

/// Of as many tokens a step as `part` is of `whole`, rows of experts and dispatch buffers with them.
MemoryRequest with_share_of_tokens(MemoryRequest request, std::int64_t part, std::int64_t whole) {
  const auto scaled = [&](std::int64_t value) { return (value * part + whole - 1) / whole; };
  request.step_tokens = scaled(request.step_tokens);
  request.max_dispatch_tokens = scaled(request.max_dispatch_tokens);
  if (request.expert_rows) {
    request.expert_rows = scaled(*request.expert_rows);
  }
  return request;
}

/// In generation every sequence brings the same number of tokens to a step; in a prompt's step they do not depend on
/// how many sequences are resident.
MemoryRequest with_sequences(const MemoryRequest& request, std::int64_t sequences) {
  const bool generates = request.phase == ServingPhase::kGeneration && request.sequences > 0;
  MemoryRequest changed = generates ? with_share_of_tokens(request, sequences, request.sequences) : request;
  changed.sequences = sequences;
  return changed;
}

std::string sequences_remedy(const MemoryRequest& request, const Accelerator& accelerator) {
  const std::int64_t most = greatest(request.sequences - 1, [&](std::int64_t sequences) {
    return fits(with_sequences(request, sequences), accelerator);
  });
  return most > 0 ? fmt::format("at most {} sequences per rank", most) : "";
}

std::string length_remedy(const MemoryRequest& request, const Accelerator& accelerator) {
  MemoryRequest changed = request;
  const std::int64_t most = greatest(request.tokens_per_sequence - 1, [&](std::int64_t tokens) {
    changed.tokens_per_sequence = tokens;
    return fits(changed, accelerator);
  });
  return most > 0 ? fmt::format("at most {} tokens per sequence", most) : "";
}

std::string step_remedy(const MemoryRequest& request, const Accelerator& accelerator) {
  if (request.phase == ServingPhase::kGeneration) {
    return {};
  }
  const std::int64_t most = greatest(request.step_tokens - 1, [&](std::int64_t tokens) {
    return fits(with_share_of_tokens(request, tokens, request.step_tokens), accelerator);
  });
  return most > 0 ? fmt::format("at most {} tokens per step", most) : "";
}

/// Fewer drafts are also fewer tokens that a step verifies.
std::string draft_remedy(const MemoryRequest& request, const Accelerator& accelerator) {
  const auto with_drafts = [&](std::int64_t drafts) {
    MemoryRequest changed = with_share_of_tokens(request, 1 + drafts, 1 + request.draft_tokens);
    changed.draft_tokens = static_cast<int>(drafts);
    return changed;
  };
  if (request.draft_tokens == 0 || !fits(with_drafts(0), accelerator)) {
    return {};
  }
  const std::int64_t most =
      greatest(request.draft_tokens - 1, [&](std::int64_t drafts) { return fits(with_drafts(drafts), accelerator); });
  return most > 0 ? fmt::format("at most {} draft tokens", most) : "no draft tokens";
}

bool is_allowed(const MemoryRequest& request, int expert_ranks, int tensor_parallel) {
  return !request.allowed || request.allowed(expert_ranks, tensor_parallel);
}

/// The same physical experts spread evenly over more ranks.
std::string expert_ranks_remedy(const MemoryRequest& request, const Accelerator& accelerator) {
  const auto most = std::max_element(request.expert_slots.begin(), request.expert_slots.end());
  if (most == request.expert_slots.end() || *most <= 1) {
    return {};
  }
  const auto now = static_cast<std::size_t>(request.expert_ranks);
  MemoryRequest changed = request;
  for (std::size_t ranks = now + 1; ranks <= *most * now; ++ranks) {
    // Only where the fullest layer gets fewer slots does another rank help.
    if (!is_allowed(request, static_cast<int>(ranks), request.tensor_parallel) ||
        (*most * now + ranks - 1) / ranks == (*most * now + ranks - 2) / (ranks - 1)) {
      continue;
    }
    for (std::size_t layer = 0; layer < request.expert_slots.size(); ++layer) {
      changed.expert_slots[layer] = (request.expert_slots[layer] * now + ranks - 1) / ranks;
    }
    changed.expert_ranks = static_cast<int>(ranks);
    if (fits(changed, accelerator)) {
      return fmt::format("{} expert ranks", ranks);
    }
  }
  return {};
}

std::string tensor_parallel_remedy(const MemoryRequest& request, const Accelerator& accelerator) {
  constexpr int kMost = 64;
  MemoryRequest changed = request;
  for (int factor = 2; request.tensor_parallel * factor <= kMost; factor *= 2) {
    changed.tensor_parallel = request.tensor_parallel * factor;
    if (!is_allowed(request, request.expert_ranks, changed.tensor_parallel)) {
      continue;
    }
    changed.max_dispatch_tokens = (request.max_dispatch_tokens + factor - 1) / factor;
    if (request.expert_rows) {
      changed.expert_rows = (*request.expert_rows + factor - 1) / factor;
    }
    if (request.expert_ranks == 1) {
      changed.expert_tensor_parallel = request.expert_tensor_parallel * factor;
    }
    if (fits(changed, accelerator)) {
      return fmt::format("tensor parallelism {}", changed.tensor_parallel);
    }
  }
  return {};
}

std::string precision_remedy(const MemoryRequest& request, const Accelerator& accelerator) {
  const Bytes narrow = element_size(DataType::kFp8);
  const DataType experts = request.precision.expert_weights(request.model.architecture().released());
  std::vector<std::string> remedies;
  MemoryRequest changed = request;
  if (element_size(experts) > narrow) {
    changed.precision.experts = DataType::kFp8;
    if (fits(changed, accelerator)) {
      remedies.emplace_back("experts in fp8");
    }
    changed.precision = request.precision;
  }
  if (element_size(request.precision.kv) > narrow) {
    changed.precision.kv = DataType::kFp8;
    if (fits(changed, accelerator)) {
      remedies.emplace_back("a KV cache in fp8");
    }
  }
  return fmt::format("{}", fmt::join(remedies, ", or with "));
}

std::string remedies(const MemoryRequest& request, const Accelerator& accelerator) {
  std::vector<std::string> found;
  for (const auto& remedy : {sequences_remedy, length_remedy, step_remedy, draft_remedy, expert_ranks_remedy,
                             tensor_parallel_remedy, precision_remedy}) {
    if (std::string text = remedy(request, accelerator); !text.empty()) {
      found.push_back(std::move(text));
    }
  }
  if (found.empty()) {
    return "no single change of batch, length, ranks or types makes it fit";
  }
  return fmt::format("it fits with {}", fmt::join(found, ", or with "));
}

std::string largest_parts(const MemoryFootprint& footprint) {
  auto parts = footprint.parts();
  std::stable_sort(parts.begin(), parts.end(), [](const auto& a, const auto& b) { return a.size > b.size; });
  return fmt::format("{} {}, {} {}, {} {}", parts[0].name, to_text(parts[0].size), parts[1].name,
                     to_text(parts[1].size), parts[2].name, to_text(parts[2].size));
}

}  // namespace

/// free = memory·fraction − everything but the KV cache − sequences·(full windows + cross-attention cache);
/// tokens = ⌊free / (Σ bytes per token of layers without a window) / page⌋·page.
std::optional<std::int64_t> kv_capacity_tokens(const MemoryRequest& request, const Accelerator& accelerator) {
  Bytes growing;
  Bytes fixed;
  for (const Layer* layer : cached_layers(request)) {
    const LayerCache cache = cache_of(*layer, request.precision.kv, request.tensor_parallel, request.kv_sharding);
    if (cache.window) {
      const std::int64_t pages = (*cache.window + request.kv_block - 1) / request.kv_block;
      fixed += static_cast<double>(pages * request.kv_block) * cache.per_token;
    } else {
      growing += cache.per_token;
    }
    const std::int64_t pages = (request.encoder_tokens + request.kv_block - 1) / request.kv_block;
    fixed += static_cast<double>(pages * request.kv_block) *
             cross_cache_of(*layer, request.precision.kv, request.tensor_parallel, request.kv_sharding);
  }
  if (growing == Bytes{}) {
    return std::nullopt;
  }
  const MemoryFootprint held = footprint(request);
  const Bytes free =
      usable(request, accelerator) - (held.total() - held.kv_cache) - static_cast<double>(request.sequences) * fixed;
  if (free <= Bytes{}) {
    return 0;
  }
  const double pages = std::floor(free / (growing * static_cast<double>(request.kv_block)));
  return static_cast<std::int64_t>(pages) * request.kv_block;
}

void check_fits(const MemoryRequest& request, const Accelerator& accelerator, const Place& place) {
  const MemoryFootprint needed = footprint(request);
  const Bytes there = usable(request, accelerator);
  if (needed.total() <= there) {
    return;
  }
  const std::string share =
      request.memory_fraction < 1.0 ? fmt::format(" ({:.4g} of it)", request.memory_fraction) : "";
  throw ModelError(fmt::format("{}: does not fit: {} needed per rank, {} usable on {}{}, {} too much; largest: {}; {}",
                               place.text(), to_text(needed.total()), to_text(there), accelerator.name, share,
                               to_text(needed.total() - there), largest_parts(needed), remedies(request, accelerator)));
}

}  // namespace moesim
