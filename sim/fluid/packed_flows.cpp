#include "sim/fluid/packed_flows.hpp"

#include <algorithm>
#include <array>
#include <numeric>

namespace moesim::fluid {
namespace {

constexpr std::uint32_t kNone = UINT32_MAX;

/// What `order` holds, in the order of their `key`s (below `keys`), else as it is.
std::vector<std::uint32_t> sorted_by(std::span<const std::uint32_t> order, std::span<const std::uint32_t> key,
                                     std::size_t keys) {
  std::vector<std::uint32_t> next(keys + 1, 0);
  for (const std::uint32_t item : order) {
    ++next[key[item] + 1];
  }
  std::partial_sum(next.begin(), next.end(), next.begin());
  std::vector<std::uint32_t> sorted(order.size());
  for (const std::uint32_t item : order) {
    sorted[next[key[item]]++] = item;
  }
  return sorted;
}

std::vector<std::uint32_t> numbers_up_to(std::size_t count) {
  std::vector<std::uint32_t> numbers(count);
  std::iota(numbers.begin(), numbers.end(), 0U);
  return numbers;
}

}  // namespace

PackedFlows::PackedFlows(const Component& component) : to_begin_(component.flows.size()) {
  cut(component);
  order_tails(component);
  pack();
}

/// Finds heads, tails and rows.
void PackedFlows::cut(const Component& component) {
  const std::size_t flows = component.flows.size();
  head_of_.resize(flows);
  tail_of_.resize(flows);
  for (std::size_t flow = 0; flow < flows; ++flow) {
    const std::span<const std::uint32_t> links = component.links_of(flow);
    const std::size_t head = (links.size() + 1) / 2;
    head_of_[flow] = head_lists_.number(links.first(head));
    tail_of_[flow] = tail_lists_.number(links.subspan(head));
  }
  std::vector<std::uint32_t> row_of(component.capacity.size(), kNone);  // [links]
  std::vector<std::uint32_t> row_of_head(head_lists_.size());
  for (std::size_t head = 0; head < head_lists_.size(); ++head) {
    std::uint32_t& row = row_of[head_lists_[head][0]];
    if (row == kNone) {
      row = static_cast<std::uint32_t>(rows_.size());
      rows_.push_back({.link = head_lists_[head][0], .first_head = 0, .heads = 0});
    }
    row_of_head[head] = row;
    ++rows_[row].heads;
  }
  std::size_t heads = 0;
  for (Row& row : rows_) {
    row.first_head = heads;
    heads += row.heads;
  }
  const auto meet = [&](std::span<const std::uint32_t> links) {
    for (const std::uint32_t link : links) {
      if (row_of[link] != kNone) {
        rows_[row_of[link]].alone = false;
      }
    }
  };
  std::vector<std::uint32_t> place(heads);
  for (const std::uint32_t head : sorted_by(numbers_up_to(heads), row_of_head, rows_.size())) {
    place[head] = static_cast<std::uint32_t>(heads_.size());
    heads_.push_back({.links = head_lists_[head], .begin = 0, .packs = 0});
    row_of_head_.push_back(row_of_head[head]);
    meet(head_lists_[head].subspan(1));
  }
  for (std::size_t tail = 0; tail < tail_lists_.size(); ++tail) {
    meet(tail_lists_[tail]);
  }
  for (std::uint32_t& head : head_of_) {
    head = place[head];
  }
}

/// Tails of at least half of the rows by their bytes, most first; then the others as they came.
void PackedFlows::order_tails(const Component& component) {
  struct Tail {
    std::size_t flows = 0;
    double bytes = 0.0;
  };
  std::vector<Tail> tails(tail_lists_.size());
  for (std::size_t flow = 0; flow < tail_of_.size(); ++flow) {
    ++tails[tail_of_[flow]].flows;
    tails[tail_of_[flow]].bytes += component.amount[flow];
  }
  std::vector<std::uint32_t> order = numbers_up_to(tails.size());
  const auto most = std::stable_partition(order.begin(), order.end(),
                                          [&](std::uint32_t tail) { return 2 * tails[tail].flows >= rows_.size(); });
  std::stable_sort(order.begin(), most,
                   [&](std::uint32_t a, std::uint32_t b) { return tails[a].bytes > tails[b].bytes; });
  std::vector<std::uint32_t> rank(order.size());
  for (const std::uint32_t tail : order) {
    rank[tail] = static_cast<std::uint32_t>(tails_.size());
    tails_.push_back(tail_lists_[tail]);
  }
  tails_.resize((tails_.size() + kLanes - 1) / kLanes * kLanes);
  for (std::uint32_t& tail : tail_of_) {
    tail = rank[tail];
  }
}

/// Gives each flow its place.
void PackedFlows::pack() {
  const std::vector<std::uint32_t> order =
      sorted_by(sorted_by(numbers_up_to(tail_of_.size()), tail_of_, tails_.size()), head_of_, heads_.size());
  place_.resize(order.size());
  std::size_t next = 0;
  for (std::size_t index = 0; index < heads_.size(); ++index) {
    Head& head = heads_[index];
    head.begin = pack_tail_.size();
    while (next < order.size() && head_of_[order[next]] == index) {
      const std::uint32_t tail = tail_of_[order[next]] / static_cast<std::uint32_t>(kLanes);
      const std::size_t first = pack_tail_.size();
      std::array<std::size_t, kLanes> used{};
      for (; next < order.size() && head_of_[order[next]] == index && tail_of_[order[next]] / kLanes == tail; ++next) {
        const std::size_t lane = tail_of_[order[next]] % kLanes;
        const std::size_t at = first + used[lane]++;
        if (at == pack_tail_.size()) {
          pack_tail_.push_back(tail);
          flow_.resize(flow_.size() + kLanes, kNone);
        }
        flow_[kLanes * at + lane] = order[next];
        place_[order[next]] = static_cast<std::uint32_t>(kLanes * at + lane);
      }
    }
    head.packs = pack_tail_.size() - head.begin;
  }
  left_.assign(kLanes * pack_tail_.size(), 0.0F);
  std::size_t longest = 0;
  for (const Row& row : rows_) {
    std::size_t packs = 0;
    for (const Head& head : heads(row)) {
      packs += head.packs;
    }
    longest = std::max(longest, packs);
  }
  limit_.assign(kLanes * longest, 0.0F);
  tail_of_ = {};
}

void PackedFlows::begin(std::uint32_t flow, double amount) {
  left_[place_[flow]] = static_cast<float>(amount);
  ++rows_[row_of_head_[head_of_[flow]]].live;
  --to_begin_;
}

void PackedFlows::compact() {
  for (Head& head : heads_) {
    std::size_t kept = head.begin;
    for (std::size_t pack = head.begin; pack < head.begin + head.packs; ++pack) {
      const float* const left = left_.data() + kLanes * pack;
      if (std::any_of(left, left + kLanes, [](float value) { return value > 0.0F; })) {
        for (std::size_t lane = 0; lane < kLanes; ++lane) {
          left_[kLanes * kept + lane] = left_[kLanes * pack + lane];
          flow_[kLanes * kept + lane] = flow_[kLanes * pack + lane];
        }
        pack_tail_[kept++] = pack_tail_[pack];
      }
    }
    head.packs = kept - head.begin;
  }
}

}  // namespace moesim::fluid
