#pragma once

#include <map>
#include <optional>

#include "sim/config/describe.hpp"

/// What share of the links' nominal bandwidth communication kernels reach, and what they cost whatever the bytes.
///
/// The same rule holds throughout: time = overhead + transfer, where transfer is that of the flows over links whose
/// capacity is the nominal one times the efficiency, and overhead is the kernel's own and includes the latency of the
/// path, so that none is to be added per link. A kernel that sends anything over the network has the network's
/// overhead, else that of scale-up (NVLink, xGMI).
namespace moesim {

struct TransferTerms {
  double scale_up_efficiency = 1.0;
  double network_efficiency = 1.0;
  Duration scale_up_overhead;
  Duration network_overhead;

  template <class F>
  static void describe(F& f) {
    const Rules share{.maximum = 1.0, .positive = true};
    f.required("scale_up_efficiency", &TransferTerms::scale_up_efficiency, "Share of the scale-up bandwidth", share);
    f.required("network_efficiency", &TransferTerms::network_efficiency, "Share of the NICs' bandwidth", share);
    f.required("scale_up_overhead", &TransferTerms::scale_up_overhead, "Fixed time, all ranks in one scale-up domain");
    f.required("network_overhead", &TransferTerms::network_overhead, "Fixed time, ranks in several domains");
  }
};

/// One protocol of expert dispatch.
struct DispatchTerms {
  TransferTerms dispatch;
  TransferTerms combine;
  std::optional<int> compute_units;  ///< SMs that its kernels keep; absent: those of the whole GPU, but only briefly

  template <class F>
  static void describe(F& f) {
    f.required("dispatch", &DispatchTerms::dispatch, "Tokens to their experts");
    f.required("combine", &DispatchTerms::combine, "Results back");
    f.optional("compute_units", &DispatchTerms::compute_units, "SMs that the kernels keep while they run",
               Rules::between(1, 4096));
  }
};

enum class ProfiledCollective { kAllReduce, kAllGather, kReduceScatter, kAllToAll, kOneShotAllReduce, kPointToPoint };
template <>
struct EnumNames<ProfiledCollective> {
  static constexpr auto names = std::to_array<std::pair<ProfiledCollective, std::string_view>>(
      {{ProfiledCollective::kAllReduce, "all_reduce"},
       {ProfiledCollective::kAllGather, "all_gather"},
       {ProfiledCollective::kReduceScatter, "reduce_scatter"},
       {ProfiledCollective::kAllToAll, "all_to_all"},
       {ProfiledCollective::kOneShotAllReduce, "one_shot_all_reduce"},
       {ProfiledCollective::kPointToPoint, "point_to_point"}});
};

/// One collective of S bytes (per rank after an all-gather, before a reduce-scatter) over n ranks:
/// time = overhead + overhead_per_rank·n + network_overhead (once, if any rank is in another domain) + transfer of
///   all_reduce 2·S·(n−1)/n; all_gather, reduce_scatter, all_to_all S·(n−1)/n; one_shot_all_reduce S·(n−1);
///   point_to_point S
/// out of every rank: the "bus bandwidth" convention of nccl-tests, doc/PERFORMANCE.md.
struct CollectiveTerms {
  double scale_up_efficiency = 1.0;
  double network_efficiency = 1.0;
  Duration overhead;
  Duration overhead_per_rank;
  Duration network_overhead;

  template <class F>
  static void describe(F& f) {
    const Rules share{.maximum = 1.0, .positive = true};
    f.required("scale_up_efficiency", &CollectiveTerms::scale_up_efficiency, "Share of the scale-up bandwidth", share);
    f.required("network_efficiency", &CollectiveTerms::network_efficiency, "Share of the NICs' bandwidth", share);
    f.required("overhead", &CollectiveTerms::overhead, "Fixed time");
    f.required("overhead_per_rank", &CollectiveTerms::overhead_per_rank, "Fixed time per participating rank");
    f.required("network_overhead", &CollectiveTerms::network_overhead, "Fixed time more when ranks span domains");
  }
};

struct CommunicationProfile {
  DispatchTerms low_latency;
  DispatchTerms high_throughput;
  std::map<ProfiledCollective, CollectiveTerms> collective;

  template <class F>
  static void describe(F& f) {
    f.required("low_latency", &CommunicationProfile::low_latency, "Direct sends of every copy (DeepEP low latency)");
    f.required("high_throughput", &CommunicationProfile::high_throughput,
               "One copy per rank or node, forwarded (DeepEP normal)");
    f.required("collective", &CommunicationProfile::collective, "Collectives (NCCL and one-shot)");
  }
};

}  // namespace moesim
