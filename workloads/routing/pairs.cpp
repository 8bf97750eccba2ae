#include "workloads/routing/pairs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <tuple>

#include "sim/core/error.hpp"

namespace moesim {

namespace {

/// Experts by experts, with the counts of the rows' and of the columns' experts.
struct PairTable {
  std::size_t experts = 0;
  std::vector<double> joint;
  std::vector<double> rows;
  std::vector<double> columns;
};

enum class Kind { kWithin, kToNext };

PairTable count_pairs(const StepRouting& routing, std::size_t layer, Kind kind) {
  const RoutingShape& shape = routing.shape;
  PairTable table{shape.experts, std::vector<double>(shape.experts * shape.experts, 0.0),
                  std::vector<double>(shape.experts, 0.0), std::vector<double>(shape.experts, 0.0)};
  for (std::size_t token = 0; token < shape.tokens; ++token) {
    const auto mine = routing.token(layer, token);
    const auto others = routing.token(kind == Kind::kToNext ? layer + 1 : layer, token);
    for (std::size_t i = 0; i < shape.k; ++i) {
      table.rows[mine[i]] += 1.0;
      table.columns[others[i]] += 1.0;
      for (std::size_t j = kind == Kind::kToNext ? 0 : i + 1; j < shape.k; ++j) {
        const bool ordered = kind == Kind::kToNext || mine[i] < others[j];
        table.joint[ordered ? mine[i] * shape.experts + others[j] : others[j] * shape.experts + mine[i]] += 1.0;
      }
    }
  }
  return table;
}

/// A candidate for the list, with what it is sorted by.
struct Scored {
  double score = 0.0;
  ExpertPair pair;
};

bool stronger(const Scored& a, const Scored& b) {
  if (a.score != b.score) {
    return a.score > b.score;
  }
  return std::tuple(a.pair.layer, a.pair.expert, a.pair.other) < std::tuple(b.pair.layer, b.pair.expert, b.pair.other);
}

/// Keeps the strongest `most`.
void trim(std::vector<Scored>& list, std::size_t most) {
  const std::size_t kept = std::min(most, list.size());
  std::partial_sort(list.begin(), list.begin() + static_cast<std::ptrdiff_t>(kept), list.end(), stronger);
  list.resize(kept);
}

struct LayerPairs {
  double association = 0.0;
  std::vector<Scored> strongest;
};

LayerPairs look_at(const StepRouting& routing, std::size_t layer, Kind kind, std::size_t most) {
  const PairTable table = count_pairs(routing, layer, kind);
  const std::size_t experts = table.experts;
  double together = 0.0;
  double products = 0.0;
  double cells = 0.0;
  for (std::size_t e = 0; e < experts; ++e) {
    for (std::size_t f = kind == Kind::kToNext ? 0 : e + 1; f < experts; ++f) {
      together += table.joint[e * experts + f];
      products += table.rows[e] * table.columns[f];
      cells += table.rows[e] > 0.0 && table.columns[f] > 0.0 ? 1.0 : 0.0;
    }
  }
  LayerPairs result;
  if (products <= 0.0 || together <= 0.0) {
    return result;  // k = 1: nothing is chosen together
  }
  const auto in_use = [](const std::vector<double>& counts) {
    return static_cast<double>(std::count_if(counts.begin(), counts.end(), [](double n) { return n > 0.0; }));
  };
  const double used = in_use(table.rows);
  const double chance = kind == Kind::kToNext ? (used - 1.0) * (in_use(table.columns) - 1.0) : cells - used;
  double chi_squared = 0.0;
  for (std::size_t e = 0; e < experts; ++e) {
    for (std::size_t f = kind == Kind::kToNext ? 0 : e + 1; f < experts; ++f) {
      const double expected = table.rows[e] * table.columns[f] * together / products;
      if (expected <= 0.0) {
        continue;
      }
      const double found = table.joint[e * experts + f];
      const double score = (found - expected) / std::sqrt(expected);
      chi_squared += score * score;
      if (score > 0.0) {
        result.strongest.push_back({score,
                                    {.layer = layer,
                                     .expert = static_cast<ExpertIndex>(e),
                                     .other = static_cast<ExpertIndex>(f),
                                     .tokens = found,
                                     .lift = found / expected}});
      }
    }
  }
  trim(result.strongest, most);
  result.association = (chi_squared - chance) / together;
  return result;
}

std::vector<ExpertPair> strongest_of(std::span<const LayerPairs> layers, std::size_t most) {
  std::vector<Scored> all;
  for (const LayerPairs& layer : layers) {
    all.insert(all.end(), layer.strongest.begin(), layer.strongest.end());
  }
  trim(all, most);
  std::vector<ExpertPair> pairs;
  for (const Scored& scored : all) {
    pairs.push_back(scored.pair);
  }
  return pairs;
}

}  // namespace

PairStatistics pair_statistics(const StepRouting& routing, std::size_t most, const TaskPool& pool) {
  const std::size_t layers = routing.shape.layers;
  constexpr std::size_t kMostExperts = 4096;  // 128 MiB for each table
  if (routing.shape.experts > kMostExperts) {
    throw ModelError(fmt::format("pairs of experts are looked at for up to {} experts, found {}", kMostExperts,
                                 routing.shape.experts));
  }
  std::vector<LayerPairs> within(layers);
  std::vector<LayerPairs> to_next(layers);
  pool.for_each_index(layers, [&](std::size_t layer) {
    within[layer] = look_at(routing, layer, Kind::kWithin, most);
    if (layer + 1 < layers) {
      to_next[layer] = look_at(routing, layer, Kind::kToNext, most);
    }
  });
  PairStatistics result;
  result.tokens = routing.shape.tokens;
  for (std::size_t layer = 0; layer < layers; ++layer) {
    result.layers.push_back({layer, within[layer].association, to_next[layer].association});
  }
  result.within = strongest_of(within, most);
  result.to_next = strongest_of(to_next, most);
  return result;
}

}  // namespace moesim
