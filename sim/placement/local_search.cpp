#include "sim/placement/local_search.hpp"

#include <algorithm>

namespace moesim {

namespace {

/// Less than this much better is not worth a move: it keeps rounding from going round in circles.
constexpr double kLeastGain = 1e-9;

}  // namespace

LocalSearch::LocalSearch(std::span<const double> loads, std::size_t ranks, std::vector<std::uint16_t> slots)
    : loads_(loads),
      per_rank_(slots.size() / ranks),
      slots_(std::move(slots)),
      copies_(loads.size(), 0),
      rank_load_(ranks, 0.0) {
  for (const std::uint16_t expert : slots_) {
    ++copies_[expert];
  }
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
    rank_load_[rank_of(slot)] += share(slots_[slot]);
  }
}

std::size_t LocalSearch::busiest() const {
  return static_cast<std::size_t>(std::max_element(rank_load_.begin(), rank_load_.end()) - rank_load_.begin());
}

double LocalSearch::busiest_load() const { return rank_load_[busiest()]; }

void LocalSearch::swap_slots(std::size_t a, std::size_t b) {
  const double change = share(slots_[b]) - share(slots_[a]);
  rank_load_[rank_of(a)] += change;
  rank_load_[rank_of(b)] -= change;
  std::swap(slots_[a], slots_[b]);
}

bool LocalSearch::try_swap(std::size_t busy) {
  const double before = rank_load_[busy];
  double best = before * (1.0 - kLeastGain);
  std::size_t best_a = 0;
  std::size_t best_b = 0;
  for (std::size_t a = busy * per_rank_; a < (busy + 1) * per_rank_; ++a) {
    const double mine = share(slots_[a]);
    for (std::size_t b = 0; b < slots_.size(); ++b) {
      const double gain = mine - share(slots_[b]);
      if (!(gain > 0.0)) {
        continue;
      }
      const double after = std::max(before - gain, rank_load_[rank_of(b)] + gain);
      if (after < best) {
        best = after;
        best_a = a;
        best_b = b;
      }
    }
  }
  if (best_a == best_b) {
    return false;
  }
  swap_slots(best_a, best_b);
  return true;
}

double LocalSearch::load_after(std::size_t slot, std::uint16_t expert) {
  const std::uint16_t gone = slots_[slot];
  const double gone_more = loads_[gone] / (copies_[gone] - 1) - share(gone);
  const double less = share(expert) - loads_[expert] / (copies_[expert] + 1);
  trial_ = rank_load_;
  trial_[rank_of(slot)] += loads_[expert] / (copies_[expert] + 1) - share(gone);
  for (std::size_t s = 0; s < slots_.size(); ++s) {
    if (s != slot && slots_[s] == gone) {
      trial_[rank_of(s)] += gone_more;
    } else if (s != slot && slots_[s] == expert) {
      trial_[rank_of(s)] -= less;
    }
  }
  return *std::max_element(trial_.begin(), trial_.end());
}

void LocalSearch::give(std::size_t slot, std::uint16_t expert) {
  static_cast<void>(load_after(slot, expert));
  rank_load_ = trial_;
  --copies_[slots_[slot]];
  ++copies_[expert];
  slots_[slot] = expert;
}

bool LocalSearch::try_copy(std::size_t busy) {
  double best = rank_load_[busy] * (1.0 - kLeastGain);
  std::size_t best_slot = slots_.size();
  std::uint16_t best_expert = 0;
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
    if (copies_[slots_[slot]] < 2) {
      continue;
    }
    for (std::size_t mine = busy * per_rank_; mine < (busy + 1) * per_rank_; ++mine) {
      const std::uint16_t expert = slots_[mine];
      if (expert == slots_[slot]) {
        continue;
      }
      const double after = load_after(slot, expert);
      if (after < best) {
        best = after;
        best_slot = slot;
        best_expert = expert;
      }
    }
  }
  if (best_slot == slots_.size()) {
    return false;
  }
  give(best_slot, best_expert);
  return true;
}

void LocalSearch::descend(double goal) {
  for (std::size_t busy = busiest(); rank_load_[busy] > goal; busy = busiest()) {
    if (!try_swap(busy) && !try_copy(busy)) {
      return;
    }
  }
}

void LocalSearch::improve(std::size_t rounds, double goal, RandomStream& random) {
  constexpr std::size_t kKicks = 3;
  descend();
  for (std::size_t round = 0; round < rounds && busiest_load() > goal; ++round) {
    const double before = busiest_load();
    const auto slots = slots_;
    const auto copies = copies_;
    const auto rank_load = rank_load_;
    swap_slots(busiest() * per_rank_ + random.below(per_rank_), random.below(slots_.size()));
    for (std::size_t kick = 1; kick < kKicks; ++kick) {
      swap_slots(random.below(slots_.size()), random.below(slots_.size()));
    }
    descend();
    if (busiest_load() > before) {
      slots_ = slots;
      copies_ = copies;
      rank_load_ = rank_load;
    }
  }
}

}  // namespace moesim
