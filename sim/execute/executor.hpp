#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "sim/core/time.hpp"
#include "sim/engine/event_queue.hpp"
#include "sim/execute/bound_network.hpp"
#include "sim/execute/compute_streams.hpp"
#include "sim/execute/exchange_plan.hpp"
#include "sim/execute/exchange_state.hpp"
#include "sim/execute/execute.hpp"
#include "sim/execute/network_terms.hpp"
#include "sim/execute/timeline_recorder.hpp"
#include "sim/fluid/episodes.hpp"

namespace moesim {

/// One run of a program (execute): the ranks' instructions, their kernels (execute.cpp), and the exchanges between them
/// (executor_exchanges.cpp).
class Executor {
 public:
  Executor(const Program& program, const Cluster& cluster, const CostModel& costs,
           const CommunicationProfile& communication, Fidelity fidelity);
  Execution run();

 private:
  /// Transfers that a rank's Send set off, once the protocol's fixed time and their paths' latency have passed.
  struct Launch {
    std::uint32_t exchange = 0;
    ExchangeState::Batch batch;
  };

  /// A rank has everything of an exchange.
  struct Arrival {
    std::uint32_t exchange = 0;
    RankId rank;
  };
  /// A rank's kernel has nothing left to do for an exchange.
  struct KernelThrough {
    std::uint32_t exchange = 0;
    RankId rank;
  };
  /// A rank's kernel ends, or one that only sends.
  struct KernelEnd {
    RankId rank;
  };
  /// A rank's kernel that only receives ends.
  struct ReceiveEnd {
    RankId rank;
  };
  using Event = std::variant<Launch, Arrival, KernelThrough, KernelEnd, ReceiveEnd>;

  /// An exchange while it runs, and what it costs.
  struct RunningExchange {
    ExchangeState state;
    ExchangeTerms terms;
    std::vector<SimTime> flowing;  ///< [ranks]: when the last transfer to it began to flow, so far
    // Of kernels that only send, and only receive, where there are such: bytes, [ranks].
    std::vector<double> sent = {};
    std::vector<double> received = {};
  };

  /// What dispatch and combine do on a rank beside its computation.
  struct CommunicationStream {
    struct Asked {
      std::uint32_t exchange = 0;
      SimTime at;
    };
    std::deque<Asked> queue;  ///< the first one runs
  };

  /// Parts of a rank's wait for an exchange, each until then.
  struct Wait {
    SimTime asked;    ///< its last sender came to send
    SimTime sent;     ///< and sent
    SimTime flowing;  ///< and its bytes began to flow
  };

  /// What a fluid activity stands for.
  struct TransferOnWay {
    std::uint32_t exchange = 0;
    std::uint32_t transfer = 0;
  };

  void happen(const KernelEnd& event) { end_kernel(event.rank); }
  void happen(const ReceiveEnd& event) { end_receive(event.rank, now_ - receive_time(event.rank)); }
  void happen(const Launch& event) { launch(event); }
  void happen(const Arrival& event) {
    arrive(event.exchange, event.rank);
    release(event.exchange);
  }
  void happen(const KernelThrough& event) { leave(event.rank, event.exchange); }

  // execute.cpp
  /// Runs a rank's instructions until one takes time.
  void advance_rank(RankId rank);
  /// False where the kernel has nothing to do.
  bool start_kernel(RankId rank, const RunKernel& instruction);
  const KernelCost& cost_of(std::uint32_t kernel);
  void end_kernel(RankId id);
  void finish();

  // executor_exchanges.cpp
  void share(double bytes, std::span<const Use> uses, double fairness, TransferOnWay transfer);
  RunningExchange& running(std::uint32_t index);
  /// True where a kernel that only sends takes time.
  bool send_next(RankId rank, std::uint32_t index);
  /// The first exchange of a rank's communication stream begins.
  void enter(RankId rank);
  /// It is through, and the next one begins. Not earlier than the rank has sent, and at the latest when it has
  /// received.
  void leave(RankId rank, std::uint32_t index);
  void post(RankId rank, std::uint32_t index, SimTime asked);
  void launch(const Launch& launch);
  /// With Fidelity::kBound nothing that comes later changes when a transfer is through.
  void pass_alone(const Launch& launch);
  void count_bytes(const ExchangePlan& plan, const ExchangePlan::Start& start, double bytes);
  /// A transfer is through now. Communication leaves its units before a rank goes on.
  void pass(std::uint32_t index, std::uint32_t transfer);
  void arrive(std::uint32_t index, RankId to);
  /// A rank that waits has everything. What is left is a kernel that receives it, where there is one that has not
  /// done so while tokens came.
  void come(std::uint32_t index, RankId rank);
  /// Until the last sender came to send, a rank was waiting for that rank, then for what was before it on the
  /// communication streams, for the protocol's fixed time and the latency of the path, and from then on for the links,
  /// up to `waited`; since then its own kernel has been receiving.
  void end_receive(RankId rank, SimTime waited);
  /// Of the exchange that a rank waits for: its kernel that only receives.
  SimTime receive_time(RankId rank);
  /// A rank has received: kernels of communication hold nothing for it any more.
  void left_behind(RankId rank, std::uint32_t index);
  void release(std::uint32_t index);
  /// What kernels of communication keep of a rank's GPU while they run.
  void hold(RankId rank, std::uint32_t index, int change);
  /// True if everything is there already, and there is nothing left to do for it.
  bool receive(RankId rank, std::uint32_t index);

  const Program& program_;
  const Cluster& cluster_;
  const CostModel& costs_;
  NetworkTerms terms_;
  std::vector<ResourceId> communication_;  // [ranks]: the units that communication kernels keep; after the links
  ExchangePlans plans_;
  FluidEpisodes fluid_;
  std::optional<BoundNetwork> alone_;  // with Fidelity::kBound
  EventQueue<Event> queue_;
  SimTime now_;
  std::vector<TransferOnWay> on_way_;  // by activity of the episode
  std::vector<std::unique_ptr<RunningExchange>> exchanges_;
  ExchangeState::Finished finished_;  // by the launch that goes on
  std::vector<std::optional<KernelCost>> kernel_costs_;
  ContentionTerms contention_;
  ComputeStreams computing_;
  std::vector<EventHandle> kernel_ends_;      // [ranks]: of the kernel that runs
  std::vector<CommunicationStream> sending_;  // [ranks]
  std::vector<Wait> waits_;                   // [ranks]: for what they receive
  std::vector<SimTime> receive_times_;        // [ranks]: of kernels that only receive
  std::vector<std::size_t> next_;             // [ranks]: the instruction that runs
  TimelineRecorder record_;
  std::set<std::string> warnings_;
  Execution result_;
};

/// What a rank's time goes to while it waits for such an exchange.
TimeCategory exposed_category(StepOperator op);

}  // namespace moesim
