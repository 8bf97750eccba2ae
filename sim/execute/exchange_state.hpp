#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "sim/core/time.hpp"
#include "sim/execute/exchange_plan.hpp"
#include "sim/program/program.hpp"

namespace moesim {

/// An exchange while it runs: who has sent, what is on its way, who waits. Made when the first rank reaches it.
class ExchangeState {
 public:
  ExchangeState(const Exchange& exchange, std::shared_ptr<const ExchangePlan> plan);

  [[nodiscard]] const ExchangePlan& plan() const { return *plan_; }

  /// Places in launched().
  struct Batch {
    std::uint32_t first = 0;
    std::uint32_t last = 0;
  };
  /// A rank sends what it came to send at `asked`. Transfers of which it was the last starter are to be launched:
  /// those, by their delay.
  Batch send(RankId rank, SimTime asked, SimTime now);
  /// What is to be launched, indices into ExchangePlan::starts, in the order of sends.
  [[nodiscard]] std::span<const std::uint32_t> launched(Batch batch) const {
    return std::span(launched_).subspan(batch.first, batch.last - batch.first);
  }
  /// Ranks for which a transfer was the last one to be known of.
  struct Finished {
    std::vector<RankId> complete;  ///< that have everything at complete_at()
    std::vector<RankId> through;   ///< whose kernel has nothing left to send or receive at carried_until()
    void clear() {
      complete.clear();
      through.clear();
    }
  };
  /// A transfer's bytes are through at `at`. Appends the ranks for which it was the last one: with hops of a path, its
  /// own ends and those of later hops.
  void finish(std::uint32_t transfer, SimTime at, Finished& finished) {
    if (plan_->parts.empty()) {
      settle(transfer, at, finished);
    } else {
      finish_hop(transfer, at, finished);
    }
  }
  [[nodiscard]] SimTime complete_at(RankId to) const { return complete_at_[to.index()]; }
  [[nodiscard]] SimTime carried_until(RankId rank) const { return carried_until_[rank.index()]; }
  /// The rank's kernel would have nothing to send or receive any more.
  [[nodiscard]] bool carries_nothing(RankId rank) const { return carried_[rank.index()] == 0; }
  /// It is complete_at(rank). True if the rank waits.
  bool arrive(RankId rank);
  /// A rank waits from now on. True if everything for it has arrived already.
  bool receive(RankId rank);
  /// When the last transfer to a rank was sent, and when its sender came to send it, so far.
  [[nodiscard]] SimTime last_send(RankId to) const { return last_send_[to.index()]; }
  [[nodiscard]] SimTime last_asked(RankId to) const { return last_asked_[to.index()]; }
  /// Every rank has received.
  [[nodiscard]] bool done() const { return received_ == pending_.size(); }

 private:
  void finish_hop(std::uint32_t transfer, SimTime at, Finished& finished);
  void settle(std::uint32_t transfer, SimTime whole_at, Finished& finished);
  void carry(RankId rank, SimTime at, Finished& finished);

  const Exchange& exchange_;
  std::shared_ptr<const ExchangePlan> plan_;
  std::vector<std::uint32_t> missing_;   // [transfers]: starters that have not sent; empty where each has one
  std::vector<std::uint32_t> launched_;  // in ExchangePlan::starts
  std::vector<std::uint32_t> pending_;   // [ranks]: transfers of which nobody knows yet when they arrive
  std::vector<std::uint32_t> open_;      // [transfers]: own bytes and earlier hops that are not through
  std::vector<std::uint32_t> through_;   // hops that finish with another, while they are followed
  std::vector<SimTime> through_at_;      // [transfers], so far; empty where no hop follows another
  std::vector<SimTime> complete_at_;     // [ranks]: the last of the transfers that are known of
  std::vector<char> arrived_;            // [ranks]: everything has
  std::vector<char> waiting_;            // [ranks]
  std::vector<SimTime> last_send_;       // [ranks]
  std::vector<SimTime> last_asked_;      // [ranks]
  std::vector<std::uint32_t> carried_;   // [ranks]: transfers to it and from it of which nobody knows when they end
  std::vector<SimTime> carried_until_;   // [ranks]: the last of those that are known of
  std::size_t received_ = 0;
};

}  // namespace moesim
