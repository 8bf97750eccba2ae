#include "sim/program/traffic.hpp"

#include <algorithm>
#include <numeric>

#include "sim/core/error.hpp"

namespace moesim {

namespace {

/// Buffers are sent and computed whole: what a rank sends an expert is its share of the expert's rows, and no row is
/// left out because a token has another expert there.
void count_buffers(LayerTraffic& traffic, const LayerPlacement& placement, const Cluster& cluster,
                   std::span<const std::size_t> first_token, const CapacityLayout& layout) {
  const std::size_t ranks = traffic.ranks;
  const std::size_t nodes = traffic.nodes();
  std::fill(traffic.copies.begin(), traffic.copies.end(), 0U);
  std::fill(traffic.node_tokens.begin(), traffic.node_tokens.end(), 0U);
  for (auto& rows : traffic.computed) {
    std::fill(rows.begin(), rows.end(), std::int64_t{0});
  }
  std::vector<std::size_t> turn(placement.experts(), 0);
  std::size_t from = 0;
  for (std::size_t group = 0; group < layout.rows.size(); ++group) {
    const std::size_t first = group * layout.group_tokens;
    const std::size_t end = std::min(first + layout.group_tokens, first_token.back());
    for (std::size_t begin = first; begin < end;) {
      while (first_token[from + 1] <= begin) {
        ++from;
      }
      const std::size_t stop = std::min(end, first_token[from + 1]);
      // Whole rows that add up to the group's: the difference of rounded-down running sums.
      const std::size_t rows =
          layout.rows[group] * (stop - first) / (end - first) - layout.rows[group] * (begin - first) / (end - first);
      for (std::size_t expert = 0; expert < placement.experts(); ++expert) {
        const auto replicas = placement.replicas_of(expert);
        const std::size_t count = replicas.size();
        for (std::size_t c = 0; c < count; ++c) {
          const auto& replica = replicas[(turn[expert] + c) % count];
          const std::size_t share = rows / count + (c < rows % count ? 1 : 0);
          const std::size_t to = replica.rank.index();
          traffic.computed[to][replica.local_slot] += static_cast<std::int64_t>(share);
          traffic.copies[from * ranks + to] += static_cast<std::uint32_t>(share);
          traffic.node_tokens[from * nodes + cluster.node_of(replica.rank).index()] +=
              static_cast<std::uint32_t>(share);
        }
        turn[expert] += rows;
      }
      begin = stop;
    }
  }
  traffic.tokens = traffic.copies;
}

/// One copy of an expert: where it is, and its place among all slots, rank by rank.
struct Copy {
  std::uint32_t rank = 0;
  std::uint32_t node = 0;
  std::uint32_t slot = 0;
};

/// The copies of all experts, laid out for the loop over choices.
struct Copies {
  std::vector<Copy> copies;                ///< expert by expert
  std::vector<std::uint32_t> first;        ///< [experts + 1], in copies
  std::vector<std::size_t> slots_of_rank;  ///< [ranks]
};

Copies copies_of(const LayerPlacement& placement, const Cluster& cluster) {
  Copies all;
  std::vector<std::uint32_t> first_slot;
  std::uint32_t slots = 0;
  for (std::size_t rank = 0; rank < placement.ranks(); ++rank) {
    first_slot.push_back(slots);
    all.slots_of_rank.push_back(placement.slots_of(RankId(rank)).size());
    slots += static_cast<std::uint32_t>(all.slots_of_rank.back());
  }
  for (std::size_t expert = 0; expert < placement.experts(); ++expert) {
    all.first.push_back(static_cast<std::uint32_t>(all.copies.size()));
    for (const LayerPlacement::Replica& replica : placement.replicas_of(expert)) {
      all.copies.push_back({static_cast<std::uint32_t>(replica.rank.index()),
                            static_cast<std::uint32_t>(cluster.node_of(replica.rank).index()),
                            first_slot[replica.rank.index()] + replica.local_slot});
    }
  }
  all.first.push_back(static_cast<std::uint32_t>(all.copies.size()));
  return all;
}

/// Adds every choice to the rows, copies, tokens and node_tokens of `traffic`.
void count_choices(LayerTraffic& traffic, const Copies& all, std::span<const std::uint16_t> choices, std::size_t k,
                   std::span<const std::size_t> first_token, std::span<const std::uint32_t> taken) {
  const std::size_t ranks = traffic.ranks;
  const std::size_t nodes = traffic.nodes();
  // Whether a token has been counted for a rank or node: the last token that was, plus one.
  std::vector<std::size_t> seen_rank(ranks, 0);
  std::vector<std::size_t> seen_node(nodes, 0);
  std::vector<std::uint32_t> turn(traffic.experts, 0);
  std::vector<std::int64_t> rows(all.copies.size(), 0);
  const auto copy_for = [&](std::size_t choice, std::uint16_t expert) -> const Copy& {
    const std::uint32_t first = all.first[expert];
    const std::uint32_t count = all.first[expert + 1] - first;
    if (!taken.empty()) {
      return all.copies[first + taken[choice]];
    }
    return all.copies[count == 1 ? first : first + turn[expert]++ % count];
  };
  for (std::size_t from = 0; from < ranks; ++from) {
    std::uint32_t* const copies = traffic.copies.data() + from * ranks;
    std::uint32_t* const tokens = traffic.tokens.data() + from * ranks;
    std::uint32_t* const node_tokens = traffic.node_tokens.data() + from * nodes;
    for (std::size_t token = first_token[from]; token < first_token[from + 1]; ++token) {
      for (std::size_t choice = token * k; choice < (token + 1) * k; ++choice) {
        const std::uint16_t expert = choices[choice];
        if (expert == kNoExpert) {
          continue;
        }
        const Copy& copy = copy_for(choice, expert);
        ++rows[copy.slot];
        ++copies[copy.rank];
        tokens[copy.rank] += seen_rank[copy.rank] != token + 1 ? 1 : 0;
        seen_rank[copy.rank] = token + 1;
        node_tokens[copy.node] += seen_node[copy.node] != token + 1 ? 1 : 0;
        seen_node[copy.node] = token + 1;
      }
    }
  }
  auto next = rows.begin();
  for (const std::size_t slots : all.slots_of_rank) {
    const auto end = next + static_cast<std::ptrdiff_t>(slots);
    traffic.rows.emplace_back(next, end);
    next = end;
  }
}

}  // namespace

LayerTraffic count_traffic(const LayerPlacement& placement, const Cluster& cluster,
                           std::span<const std::uint16_t> choices, std::size_t k,
                           std::span<const std::size_t> first_token, std::span<const std::uint32_t> taken,
                           const RowPadding& padding) {
  const std::size_t ranks = placement.ranks();
  const std::size_t nodes = cluster.node_of(RankId(ranks - 1)).index() + 1;
  ensure(first_token.size() == ranks + 1 && first_token.back() * k == choices.size(),
         "routing and ranks disagree on the number of tokens");
  ensure(taken.empty() || taken.size() == choices.size(), "every choice goes to one copy");
  LayerTraffic traffic;
  traffic.ranks = ranks;
  traffic.experts = placement.experts();
  for (std::size_t r = 0; r < ranks; ++r) {
    traffic.home_tokens.push_back(static_cast<std::uint32_t>(first_token[r + 1] - first_token[r]));
  }
  traffic.copies.assign(ranks * ranks, 0);
  traffic.tokens.assign(ranks * ranks, 0);
  traffic.node_tokens.assign(ranks * nodes, 0);
  count_choices(traffic, copies_of(placement, cluster), choices, k, first_token, taken);
  std::int64_t computed = 0;
  for (const auto& rank_rows : traffic.rows) {
    computed = std::accumulate(rank_rows.begin(), rank_rows.end(), computed);
  }
  ensure(computed == std::count_if(choices.begin(), choices.end(), [](auto expert) { return expert != kNoExpert; }),
         "routed copies and computed rows differ");
  traffic.computed = traffic.rows;
  if (padding.buffers != nullptr) {
    count_buffers(traffic, placement, cluster, first_token, *padding.buffers);
  }
  for (auto& rank_rows : traffic.computed) {
    for (std::int64_t& rows : rank_rows) {
      rows = (rows + padding.tile - 1) / padding.tile * padding.tile;
    }
  }
  return traffic;
}

}  // namespace moesim
