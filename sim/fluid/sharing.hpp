#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "sim/core/time.hpp"
#include "sim/fluid/agenda.hpp"
#include "sim/fluid/aligned.hpp"
#include "sim/fluid/block_kernels.hpp"
#include "sim/fluid/bundle.hpp"
#include "sim/fluid/compensated_sum.hpp"
#include "sim/fluid/coupling.hpp"
#include "sim/fluid/cover.hpp"
#include "sim/fluid/flow_table.hpp"
#include "sim/fluid/tag_queue.hpp"

namespace moesim::fluid {

/// The max-min rates of flows that share links (resources, and the caps of single flows), kept up to date from event
/// to event.
///
/// A link L has a level λ_L: what each of its flows could have for each unit of φ as far as L is concerned. A flow is
/// owned by the one of its links with the least level and has x = φ·λ of that. A link that owns nobody does not bind:
/// its level is infinite. For the others
///
///   λ_L = (C_L − Σ_{f not owned by L} w_{f,L}·x_f) / Σ_{f owned by L} w_{f,L}·φ_f = free_L / own_L          (1)
///
/// and all flows that L does not own have a level of at most λ_L. That is max-min fairness: an owned flow uses a
/// saturated link on which no other has a greater x/φ.
///
/// An event changes the free_L or own_L of a few links. They are put on an agenda, by level, and each in turn takes
/// flows from owners that are now above it, gives flows up to links that are now below it, and moves to its new level,
/// which changes free_M of the links with which it shares flows that it owns: in one pass over its row of the coupling
/// matrix. Since a level depends on lower ones only, going upwards nearly always settles each link at once. Where
/// rounding or a bad order make that go on for too long, the rates of all links concerned are found from nothing by
/// progressive filling (fill_around), which cannot.
///
/// A link's clock is V_L = ∫ λ_L dt. An owned flow completes when V_L reaches its tag, which is fixed while L owns it.
class Sharing {
 public:
  explicit Sharing(double epsilon);

  /// `kind`: links with the same are kept together, which makes rows dense.
  std::uint32_t add_link(double capacity, std::uint32_t kind);
  void set_capacity(std::uint32_t link, double capacity);
  [[nodiscard]] double capacity(std::uint32_t link) const { return links_[link].capacity; }

  struct Demand {
    double amount = 0.0;
    double fairness = 1.0;
    std::span<const FlowUse> uses;  ///< each link once
    ActivityId id;
  };
  /// A new flow, which takes nothing yet.
  std::uint32_t add(const Demand& demand);
  /// It shares from the next settle() on.
  void enter(std::uint32_t index, std::int64_t now);

  /// Brings all rates up to date, as of `now`. The questions below are only good after it.
  void settle(std::int64_t now);
  /// The first tick at which somebody completes.
  [[nodiscard]] std::int64_t earliest_finish();
  /// Those whose finish is at or before `now`, the tick of the earliest; they are to be removed.
  void take_completed(std::int64_t now, std::vector<std::uint32_t>& completed);
  void remove(std::uint32_t index, std::int64_t now);

  /// A flow that completes at tick `finish`, and keeps its share until it is removed.
  struct Late {
    std::int64_t finish;
    ActivityId id;
    std::uint32_t flow;
    auto operator<=>(const Late&) const = default;
  };
  /// Those that complete up to where a window ends that begins at tick `first`, the earliest finish, and lasts
  /// epsilon of the time that the first of them took. In order; they are to be removed or put back. Within the window
  /// what a link's flows leave goes to its other flows, and to nobody else.
  void take_window(std::int64_t first, std::vector<Late>& late);
  /// It goes on as if it had not been taken.
  void put_back(std::uint32_t index);
  /// Removes them, at the end of the window. What was carried over a link in it that is not what its level stands for
  /// is made good for to those that it owns.
  void remove(std::span<const Late> late, std::int64_t now);

  [[nodiscard]] double rate(std::uint32_t index) const;
  [[nodiscard]] double remaining(std::uint32_t index, std::int64_t tick) const;
  [[nodiscard]] const FlowTable& flows() const { return flows_; }
  struct User {
    std::uint32_t flow;
    std::uint32_t use;  ///< in the flow table
  };
  [[nodiscard]] std::span<const User> users(std::uint32_t link) const { return links_[link].users; }

  /// What it took so far: for tests and measurements.
  struct Effort {
    std::size_t relaxed = 0;  ///< links taken from the agenda
    std::size_t flipped = 0;  ///< flows that changed owners
    std::size_t filled = 0;   ///< times that filling from nothing was needed for rates
  };
  [[nodiscard]] const Effort& effort() const { return effort_; }

 private:
  struct alignas(kAlignment) Link {
    // What every change of a level needs, in one cache line.
    double capacity = 0.0;
    double own = 0.0;      ///< Σ_{owned} w·φ
    CompensatedSum clock;  ///< at tick `since`
    std::int64_t since = 0;
    double due = kInfinity;  ///< the tag under which its next flow completes; kUnknown: to be looked up
    std::uint32_t owned = 0;
    std::uint32_t changes = 0;  ///< of `free`, since it was last summed anew
    std::vector<User> users;
    TagQueue queue;
    std::vector<std::uint32_t> bundles;  ///< that it may own
    Cover before;                        ///< of links before it on the way of its flows
    Cover behind;
  };
  static constexpr double kUnknown = -kInfinity;
  /// Whether a link is looked at.
  enum class Watch : char {
    kAsNeeded,  ///< nobody uses it, or a cover stands in for it
    kOn,
    kAlways,  ///< for good
  };
  struct Due {
    double level;
    std::uint32_t link;
  };
  struct Neighbour {
    double level;
    std::uint32_t link;
  };

  // levels.cpp, ownership.cpp
  void solve();
  void relax(std::uint32_t index);
  enum class Look : char { kWhenMoved, kAlways };
  RowLevels move_to(std::uint32_t index, double level, Look look);
  bool give_up_above(std::uint32_t index);
  bool rises_too(std::uint32_t other, double level);
  bool take_below(std::uint32_t index);
  void saturate(std::uint32_t index);
  bool take_pair(std::uint32_t index, std::uint32_t from);
  bool flip(std::uint32_t index, std::uint32_t from, std::uint32_t to);
  void flip_bundle(std::uint32_t index, std::uint32_t to);
  void change_hands(std::uint32_t link, Coupling::Pair flows, double claim, std::uint32_t from, std::uint32_t to);
  void mark(std::uint32_t link, double level);
  void sum_anew(std::uint32_t index);
  void rest(std::uint32_t index);
  void collect_pair(std::uint32_t owner, std::uint32_t link);
  [[nodiscard]] double tie(std::uint32_t link) const;

  // sharing.cpp
  void touch(std::uint32_t index);
  [[nodiscard]] double clock_at(const Link& link, double level, std::int64_t tick) const;
  [[nodiscard]] double clock(Owner owner) const;
  [[nodiscard]] std::uint32_t link_of(Owner owner) const {
    return owner.is_bundle() ? bundles_[owner.index()].owner : owner.index();
  }
  struct Next {
    std::uint32_t flow;
    double tag;  ///< by the clock of the link
  };
  std::optional<Next> next_of(std::uint32_t index);
  void take_next(std::uint32_t index, std::uint32_t flow);
  [[nodiscard]] double own_claim(std::uint32_t index) const;
  void take_link(std::uint32_t index, std::int64_t until, std::vector<Late>& late);
  [[nodiscard]] bool waits(Owner owner, const TagQueue::Entry& entry) const;
  void enqueue(std::uint32_t index);
  void tidy(std::uint32_t index);
  void forget_due(std::uint32_t link, double tag);
  [[nodiscard]] std::int64_t finish_of(std::uint32_t index, double tag) const;
  [[nodiscard]] double offset_of(Owner owner) const { return owner.is_bundle() ? bundles_[owner.index()].offset : 0.0; }
  void note_finish(std::uint32_t index);
  void set_finish(std::uint32_t index, std::int64_t finish);

  // covering.cpp
  enum class Side : char { kBefore, kBehind };
  void cover(std::uint32_t index);
  const FlowUse* cover(const FlowUse& use, const FlowUse& narrowest, Side side);
  void watch(std::uint32_t index);
  [[nodiscard]] bool watched(std::uint32_t link) const { return watch_[link] != Watch::kAsNeeded; }

  // filling.cpp
  void place_fresh();
  void choose_bundle(std::uint32_t index);
  Owner hold(std::uint32_t index, std::uint32_t link);
  void let_go(std::uint32_t index);
  void place(std::uint32_t index);
  void own(std::uint32_t index, std::uint32_t owner);
  void disown(std::uint32_t index);
  void fill_around(std::span<const std::uint32_t> seeds);
  void gather_component(std::span<const std::uint32_t> seeds);

  const BlockKernels& kernels_;
  double epsilon_;
  double still_;  ///< a level that would move by less than this part of itself stays

  FlowTable flows_;
  BundleTable bundles_;
  std::vector<Link> links_;
  Coupling coupling_;
  // What the kernels read, [links].
  AlignedVector<double> level_;
  AlignedVector<double> free_;   ///< C − Σ_{not owned} w·x
  AlignedVector<double> slack_;  ///< what `free` may be below 0 by rounding
  AlignedVector<std::int64_t> finish_;
  // [blocks]
  std::vector<std::int64_t> block_finish_;
  std::vector<std::uint32_t> old_blocks_;  ///< of which the earliest finish is to be found anew
  std::vector<char> block_is_old_;
  std::vector<std::uint32_t> dirty_;         ///< bits of links that are to be looked at, all on the agenda
  std::vector<std::uint32_t> listed_;        ///< bits of links on the agenda
  std::vector<std::uint32_t> touched_bits_;  ///< of links in touched_
  std::vector<std::uint32_t> saturated_;     ///< bits of links that own somebody

  struct Kind {
    std::uint32_t kind;
    std::uint32_t next;
  };
  std::vector<Kind> kinds_;

  std::int64_t now_ = 0;
  std::int64_t earliest_ = SimTime::never().ticks();
  Agenda agenda_;
  std::vector<std::uint32_t> touched_;
  std::vector<std::uint32_t> fresh_;
  std::size_t live_ = 0;
  Effort effort_;

  // Kept to spare allocations.
  std::vector<std::uint32_t> below_;
  std::vector<std::uint32_t> pair_;  ///< flows
  std::vector<std::uint32_t> pair_bundles_;
  std::vector<std::uint32_t> inner_;
  std::vector<Neighbour> neighbours_;
  /// What a link's clock does in a window, from the link's last change on.
  struct Course {
    double clock;
    double ticks;  ///< so far
    double own;
    double level;
  };
  [[nodiscard]] Course course(std::uint32_t index) const;
  double run_to(Course& course, std::uint32_t index, double tag, double claim) const;
  std::vector<Course> courses_;           ///< [links], of those in a window
  std::vector<std::uint32_t> on_course_;  ///< these
  std::vector<double> credit_;            ///< [links]: what was not used, w·x·time
  std::vector<std::uint32_t> credited_;   ///< those of which it is not 0
  void credit(std::uint32_t link, double unused);
  void prefetch_removal(std::uint32_t index) const;
  std::vector<std::uint32_t> component_links_;
  std::vector<std::uint32_t> component_flows_;
  std::vector<char> link_seen_;
  std::vector<Watch> watch_;  ///< [links]
  std::vector<char> takes_;   ///< [links]: to look for what to take when it is next relaxed
  std::vector<std::uint32_t> unfixed_;
};

}  // namespace moesim::fluid
