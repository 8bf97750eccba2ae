#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <unordered_set>
#include <utility>
#include <vector>

#include "sim/core/id.hpp"
#include "sim/core/time.hpp"
#include "sim/fluid/fluid_system.hpp"

namespace moesim {

/// Activities that share the capacities of resources as in FluidSystem, and that often do again what they did before:
/// in the layers of a balanced step, in the steps of a ring.
///
/// What happens between two instants at which nothing is live is an episode. Each has a FluidSystem and a clock of its
/// own, so that its times depend on its starts alone: on what is started, in which order, and how long after its begin.
/// An episode that begins as an earlier one began is recorded, and the last few of those are remembered. As long as a
/// new one starts what a remembered one did, it goes as that one went; where it first differs, it is solved from its
/// begin. So remembering changes no tick of any result.
class FluidEpisodes {
 public:
  explicit FluidEpisodes(std::vector<double> capacities) : capacities_(std::move(capacities)) {}

  /// As FluidSystem::start; `amount` > 0. Ids count up from 0, anew in each episode.
  ActivityId start(SimTime now, double amount, std::span<const Use> uses, double fairness);
  /// The earliest completion if nothing else is started, or an earlier instant up to which that is known; none where
  /// nothing is live. Asked once all starts of an instant are made.
  [[nodiscard]] std::optional<SimTime> next_completion();
  /// As FluidSystem::advance, up to next_completion() at most.
  void advance(SimTime to, std::vector<ActivityId>& completed);

  /// How many activities have completed at a time that was remembered.
  [[nodiscard]] std::uint64_t remembered_count() const { return remembered_count_; }

 private:
  struct Start {
    SimTime after;  ///< the episode's begin
    double amount = 0.0;
    double fairness = 1.0;
    std::size_t end_of_uses = 0;  ///< in Episode::uses, where they begin behind those of the start before
  };
  struct Completion {
    SimTime after;
    ActivityId activity;
  };
  struct Episode {
    std::vector<Start> starts;
    std::vector<Use> uses;
    std::vector<Completion> completions;

    [[nodiscard]] std::span<const Use> uses_of(std::size_t start) const {
      const std::size_t first = start == 0 ? 0 : starts[start - 1].end_of_uses;
      return std::span(uses).subspan(first, starts[start].end_of_uses - first);
    }
    [[nodiscard]] bool starts_like(const Episode& other, std::size_t start) const;
    /// Of what has been started.
    [[nodiscard]] std::uint64_t hash() const;
  };
  enum class Mode : std::uint8_t {
    kBegins,   ///< its first instant is not over: only collected
    kFollows,  ///< what a remembered one did; collected, without completions
    kRecords,  ///< solved, and collected
    kSolves,   ///< only solved
  };

  void decide();
  void follow_or_record(SimTime not_before);
  [[nodiscard]] bool goes_like(const Episode& other, SimTime not_before) const;
  void solve();
  void record_completions(SimTime until);
  void end();

  std::vector<double> capacities_;
  std::list<Episode> remembered_;            ///< the one used last stands first
  std::unordered_set<std::uint64_t> begun_;  ///< hashes of the first instants of episodes

  // The episode that runs.
  Mode mode_ = Mode::kBegins;
  SimTime begin_;
  SimTime time_;  ///< since then
  std::size_t started_ = 0;
  std::size_t completed_ = 0;
  Episode collected_;
  std::list<Episode>::iterator followed_;
  std::optional<FluidSystem> system_;

  std::vector<ActivityId> at_once_;  ///< kept to spare allocations
  std::uint64_t remembered_count_ = 0;
};

}  // namespace moesim
