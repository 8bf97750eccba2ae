#include "sim/placement/relabel.hpp"

#include <algorithm>
#include <limits>

#include "sim/core/error.hpp"

namespace moesim {

namespace {

/// Slots of one rank.
std::span<const std::uint16_t> row(std::span<const std::uint16_t> slots, std::size_t per_rank, std::size_t rank) {
  return slots.subspan(rank * per_rank, per_rank);
}

/// Distinct experts of `after` that `before` has too.
std::size_t kept(std::span<const std::uint16_t> after, std::span<const std::uint16_t> before) {
  std::size_t count = 0;
  for (auto expert = after.begin(); expert != after.end(); ++expert) {
    const bool first = std::find(after.begin(), expert, *expert) == expert;
    count += first && std::find(before.begin(), before.end(), *expert) != before.end() ? 1 : 0;
  }
  return count;
}

}  // namespace

std::vector<std::size_t> best_assignment(std::span<const double> gains, std::size_t n) {
  ensure(gains.size() == n * n, "gains [n, n]");
  // Costs are −gains. Dual prices of rows and columns keep every reduced cost ≥ 0 and those of assigned pairs at 0;
  // each row in turn enters along the cheapest path to a free column. Row and column n stand for "none".
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  std::vector<double> row_price(n + 1, 0.0);
  std::vector<double> column_price(n + 1, 0.0);
  std::vector<std::size_t> row_of(n + 1, n);
  std::vector<std::size_t> came_from(n + 1, n);
  for (std::size_t entering = 0; entering < n; ++entering) {
    std::vector<double> distance(n + 1, kInfinity);
    std::vector<bool> reached(n + 1, false);
    std::size_t column = n;
    row_of[n] = entering;
    while (row_of[column] != n) {
      reached[column] = true;
      const std::size_t from = row_of[column];
      double least = kInfinity;
      std::size_t next = n;
      for (std::size_t c = 0; c < n; ++c) {
        if (reached[c]) {
          continue;
        }
        const double reduced = -gains[from * n + c] - row_price[from] - column_price[c];
        if (reduced < distance[c]) {
          distance[c] = reduced;
          came_from[c] = column;
        }
        if (distance[c] < least) {
          least = distance[c];
          next = c;
        }
      }
      for (std::size_t c = 0; c <= n; ++c) {
        if (reached[c]) {
          row_price[row_of[c]] += least;
          column_price[c] -= least;
        } else {
          distance[c] -= least;
        }
      }
      column = next;
    }
    for (; column != n; column = came_from[column]) {
      row_of[column] = row_of[came_from[column]];
    }
    row_of[n] = n;
  }
  std::vector<std::size_t> column_of(n);
  for (std::size_t column = 0; column < n; ++column) {
    column_of[row_of[column]] = column;
  }
  return column_of;
}

std::vector<std::uint16_t> relabelled(std::span<const std::uint16_t> after, std::span<const std::uint16_t> before,
                                      std::size_t ranks, std::size_t ranks_per_node) {
  ensure(ranks > 0 && after.size() == before.size() && after.size() % ranks == 0, "two placements of the same slots");
  const std::size_t per_rank = after.size() / ranks;
  const std::size_t node_ranks = ranks_per_node == 0 ? ranks : std::min(ranks, ranks_per_node);
  const std::size_t nodes = ranks / node_ranks;  // whole ones
  std::vector<std::uint16_t> result(after.begin(), after.end());
  const auto rename = [&](std::size_t rank, std::size_t name) {
    const auto from = row(after, per_rank, rank);
    std::copy(from.begin(), from.end(), result.begin() + static_cast<std::ptrdiff_t>(name * per_rank));
  };
  /// The best names for `count` ranks from `first_after` on, among those from `first_before` on, and what they keep.
  struct Naming {
    std::vector<std::size_t> name;
    double kept = 0.0;
  };
  const auto best_naming = [&](std::size_t first_after, std::size_t first_before, std::size_t count) {
    std::vector<double> gains;
    for (std::size_t a = 0; a < count; ++a) {
      for (std::size_t b = 0; b < count; ++b) {
        gains.push_back(
            static_cast<double>(kept(row(after, per_rank, first_after + a), row(before, per_rank, first_before + b))));
      }
    }
    Naming naming{best_assignment(gains, count)};
    for (std::size_t a = 0; a < count; ++a) {
      naming.kept += gains[a * count + naming.name[a]];
    }
    return naming;
  };

  std::vector<Naming> namings;  // [nodes after, nodes before]
  std::vector<double> gains;
  for (std::size_t a = 0; a < nodes; ++a) {
    for (std::size_t b = 0; b < nodes; ++b) {
      namings.push_back(best_naming(a * node_ranks, b * node_ranks, node_ranks));
      gains.push_back(namings.back().kept);
    }
  }
  const std::vector<std::size_t> node_name = best_assignment(gains, nodes);
  for (std::size_t a = 0; a < nodes; ++a) {
    const Naming& naming = namings[a * nodes + node_name[a]];
    for (std::size_t r = 0; r < node_ranks; ++r) {
      rename(a * node_ranks + r, node_name[a] * node_ranks + naming.name[r]);
    }
  }
  const std::size_t rest = nodes * node_ranks;
  const Naming naming = best_naming(rest, rest, ranks - rest);
  for (std::size_t r = 0; r < ranks - rest; ++r) {
    rename(rest + r, rest + naming.name[r]);
  }
  return result;
}

std::size_t moved_copies(std::span<const std::uint16_t> after, std::span<const std::uint16_t> before,
                         std::size_t ranks) {
  ensure(ranks > 0 && after.size() == before.size() && after.size() % ranks == 0, "two placements of the same slots");
  const std::size_t per_rank = after.size() / ranks;
  std::size_t moved = 0;
  for (std::size_t slot = 0; slot < after.size(); ++slot) {
    const auto there = row(before, per_rank, slot / per_rank);
    moved += std::find(there.begin(), there.end(), after[slot]) == there.end() ? 1 : 0;
  }
  return moved;
}

}  // namespace moesim
