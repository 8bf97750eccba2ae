#include "workloads/routing/id_scan.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "sim/core/error.hpp"
#include "workloads/routing/id_types.hpp"
#include "workloads/routing/part_scan.hpp"

namespace moesim {

namespace {

constexpr std::size_t kWindows = 16;

struct LayersInUse {
  std::vector<std::size_t> layers;
  std::uint64_t dropped = 0;
};

/// The layers that have experts. Throws ConfigError at the first −1 that means nothing.
LayersInUse layers_in_use(const IdArray& ids, std::span<const std::size_t> layers, std::span<const PartScan> parts,
                          std::size_t bound, Fillers meaning, std::string_view name) {
  LayersInUse used;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    FillerCount all;
    for (const PartScan& part : parts) {
      const FillerCount& fillers = part.fillers(l);
      if (all.count == 0) {
        all = fillers;
      } else {
        all.count += fillers.count;
      }
    }
    if (all.count == 0 || meaning == Fillers::kDropped) {
      used.layers.push_back(l);
      used.dropped += all.count;
    } else if (all.count < ids.tokens * ids.k || meaning == Fillers::kRefuse) {
      throw ConfigError({std::string(name), {}},
                        fmt::format("expected expert ids from 0 to {}, found -1 at token {}, layer {}, slot {} (a "
                                    "filler of an incomplete recording: cut these tokens off; choices that a router "
                                    "dropped are read for models with a capacity factor, and by trace info "
                                    "--dropped)",
                                    bound - 1, all.token, layers[l], all.slot));
    }
  }
  if (used.layers.empty() || used.dropped == used.layers.size() * ids.tokens * ids.k) {
    throw ConfigError({std::string(name), {}}, "expected expert ids, found nothing but -1");
  }
  return used;
}

}  // namespace

std::int64_t id_at(NpyType type, std::span<const std::byte> data, std::size_t index) {
  return ids::with_type(type, [&](auto zero) { return ids::widened(ids::load<decltype(zero)>(data.data(), index)); });
}

IdScan scan_ids(const IdArray& ids, std::span<const std::size_t> layers, std::optional<std::size_t> experts,
                Fillers fillers, std::string_view name, const TaskPool& pool) {
  ensure(ids.tokens > 0 && !layers.empty() && ids.k > 0, "ids to look at");
  IdScan scan;
  scan.windows = std::min(kWindows, ids.tokens);
  // Parts short enough for counts of 32 bits.
  constexpr std::size_t kMostChoices = std::size_t{1} << 31;
  const std::size_t longest = std::max<std::size_t>(1, kMostChoices / ids.k);
  const std::size_t per_window = ids.tokens / scan.windows / longest + 1;
  std::vector<PartScan> parts;
  for (std::size_t part = 0; part < scan.windows * per_window; ++part) {
    parts.emplace_back(ids, layers, experts, name);
  }
  // Whole and remainder apart: the product of tokens and parts may not fit.
  const auto begin_of = [&](std::size_t part) {
    return ids.tokens / parts.size() * part + ids.tokens % parts.size() * part / parts.size();
  };
  pool.for_each_index(parts.size(), [&](std::size_t part) { parts[part].run(begin_of(part), begin_of(part + 1)); });

  const std::size_t bound = std::min(experts.value_or(kMostIds), kMostIds);
  const LayersInUse in_use = layers_in_use(ids, layers, parts, bound, fillers, name);
  const std::vector<std::size_t>& used = in_use.layers;
  scan.dropped = in_use.dropped;
  std::size_t largest = 0;
  bool counted = true;
  for (const PartScan& part : parts) {
    largest = std::max(largest, part.largest());
    counted = counted && part.counts();
    scan.rows_with_duplicates += part.duplicates();
  }
  scan.experts = experts ? *experts : std::max(largest + 1, ids.k);
  for (const std::size_t l : used) {
    scan.layers.push_back(layers[l]);
  }
  if (!counted || scan.experts * used.size() > kMostTallied) {
    return scan;
  }
  scan.counts.assign(scan.windows * used.size() * scan.experts, 0);
  for (std::size_t part = 0; part < parts.size(); ++part) {
    std::uint64_t* window = scan.counts.data() + part / per_window * used.size() * scan.experts;
    for (std::size_t l = 0; l < used.size(); ++l) {
      for (std::size_t e = 0; e < scan.experts; ++e) {
        window[l * scan.experts + e] += parts[part].count(used[l], e);
      }
    }
  }
  return scan;
}

}  // namespace moesim
