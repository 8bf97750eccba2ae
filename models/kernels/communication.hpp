#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/kernels/fit_errors.hpp"
#include "sim/config/describe.hpp"
#include "sim/core/quantity.hpp"

/// What share of the links' nominal bandwidth communication kernels reach, and what they cost whatever the bytes.
///
/// The same rule holds throughout: time = overhead + latency of the path + transfer. Transfer is that of the flows
/// over links whose capacity is the nominal one times the efficiency; the path's latency is the cluster's; overhead is
/// what the kernel costs without the path.
namespace moesim {

/// What the compute units (SMs) that run a communication kernel need for each message, a token's row. The units of a
/// rank work side by side: u units carry at most u / (seconds of one unit per byte).
///
///   seconds of one unit = Σ messages sent (per_message + m / rate) + Σ own tokens (per_token + m / token_rate)
///
/// with the message's m bytes, and the rate of the hop that it takes: scale_up or network.
struct UnitTerms {
  Duration per_message = {};
  std::optional<Bandwidth> scale_up = std::nullopt;
  std::optional<Bandwidth> network = std::nullopt;
  Duration per_token = {};
  std::optional<Bandwidth> token = std::nullopt;

  template <class F>
  static void describe(F& f) {
    f.optional("per_message", &UnitTerms::per_message, "Time of one unit for a message, whatever its size");
    f.optional("scale_up", &UnitTerms::scale_up, "What one unit sends or forwards over the scale-up fabric",
               Rules::above_zero());
    f.optional("network", &UnitTerms::network, "What one unit hands to the network", Rules::above_zero());
    f.optional("per_token", &UnitTerms::per_token, "Time of one unit for each token of the rank's own");
    f.optional("token", &UnitTerms::token, "What one unit reads or sums of the rank's own tokens", Rules::above_zero());
  }
};

/// A kernel on the stream of the computation that only sends, or only receives: it has the whole GPU for
///
///   overhead + bytes / rate
///
/// with the bytes that its rank sends, or receives, itself included. Between the two the tokens are on their way and
/// nothing runs for them.
struct StreamKernelTerms {
  Duration overhead = {};
  std::optional<Bandwidth> rate = std::nullopt;

  template <class F>
  static void describe(F& f) {
    f.required("overhead", &StreamKernelTerms::overhead, "Fixed time");
    f.optional("rate", &StreamKernelTerms::rate, "At which it goes through its bytes; absent: it takes no time",
               Rules::above_zero());
  }
};

/// One direction of a dispatch protocol.
///
///   overhead in one domain  = scale_up_overhead + per_expert·experts + m / message_rate
///   overhead over a network = network_overhead + network_per_node·nodes + per_expert·experts + m / message_rate
///                             + notify + notify_per_node·nodes + notify_rise·s / (s + notify_rise_at)
///                             + notify_per_token·s·(nodes − 1) / nodes
///
/// with the message's m bytes: even a single token has to pass through the kernel. s = tokens / units: the rank's own
/// tokens, of the rank that has most, for each compute unit; of them (nodes − 1) / nodes leave the node.
struct TransferTerms {
  double scale_up_efficiency = 1.0;
  double network_efficiency = 1.0;
  Duration scale_up_overhead = {};
  Duration network_overhead = {};
  Duration network_per_node = {};
  Duration per_expert = {};
  std::optional<Bandwidth> message_rate = std::nullopt;
  Duration notify = {};
  Duration notify_per_node = {};
  Duration notify_rise = {};
  double notify_rise_at = 1.0;
  Duration notify_per_token = {};
  std::optional<UnitTerms> scale_up_units = std::nullopt;
  std::optional<UnitTerms> network_units = std::nullopt;
  std::optional<StreamKernelTerms> send_kernel = std::nullopt;
  std::optional<StreamKernelTerms> receive_kernel = std::nullopt;

  template <class F>
  static void describe(F& f) {
    const Rules share{.maximum = 1.0, .positive = true};
    f.required("scale_up_efficiency", &TransferTerms::scale_up_efficiency, "Share of the scale-up bandwidth", share);
    f.required("network_efficiency", &TransferTerms::network_efficiency, "Share of the NICs' bandwidth", share);
    f.required("scale_up_overhead", &TransferTerms::scale_up_overhead, "Fixed time, all ranks in one scale-up domain");
    f.required("network_overhead", &TransferTerms::network_overhead, "Fixed time, ranks in several domains");
    f.optional("network_per_node", &TransferTerms::network_per_node, "More of it for each node");
    f.optional("per_expert", &TransferTerms::per_expert, "More for each expert, whose count is sent by itself");
    f.optional("message_rate", &TransferTerms::message_rate, "At which the first message passes through the kernel",
               Rules::above_zero());
    f.optional("notify", &TransferTerms::notify, "Fixed time of the exchange of counts between nodes before it");
    f.optional("notify_per_node", &TransferTerms::notify_per_node, "More of it for each node");
    f.optional("notify_rise", &TransferTerms::notify_rise, "More of it with tokens, as far as this");
    f.optional("notify_rise_at", &TransferTerms::notify_rise_at,
               "Tokens of one compute unit at which half of that is there", Rules::above_zero());
    f.optional("notify_per_token", &TransferTerms::notify_per_token,
               "More of it for each token that leaves the node, shared by the compute units");
    f.optional("scale_up_units", &TransferTerms::scale_up_units, "What compute units need, in one domain");
    f.optional("network_units", &TransferTerms::network_units, "What compute units need, ranks in several domains");
    f.optional(
        "send_kernel", &TransferTerms::send_kernel,
        "Low latency: sending by itself, where a micro-batch sends and receives in kernels of their own; part of the "
        "time above");
    f.optional("receive_kernel", &TransferTerms::receive_kernel, "Receiving by itself, likewise");
  }
};

/// One protocol of expert dispatch.
struct DispatchTerms {
  TransferTerms dispatch;
  TransferTerms combine;
  std::optional<int> compute_units = std::nullopt;  ///< SMs kept; absent: the whole GPU's, but only briefly
  double memory_share = 0.0;                        ///< of the HBM's bandwidth, kept as long
  /// Transfers take so many times as long where another micro-batch computes, or waits: what one timeline showed of
  /// steps whose computation takes about as long as their communication. Where it takes far less, that is too much.
  double beside_kernels = 1.0;

  template <class F>
  static void describe(F& f) {
    f.required("dispatch", &DispatchTerms::dispatch, "Tokens to their experts");
    f.required("combine", &DispatchTerms::combine, "Results back");
    f.optional("compute_units", &DispatchTerms::compute_units, "SMs that the kernels keep while they run",
               Rules::between(1, 4096));
    f.optional("memory_share", &DispatchTerms::memory_share, "Share of the HBM's bandwidth that they take meanwhile",
               Rules::between(0, 0.99));
    f.optional("beside_kernels", &DispatchTerms::beside_kernels,
               "High throughput: how many times as long transfers take where another micro-batch computes beside them; "
               "all of them, also while it waits",
               Rules::between(1, 100));
  }
};

/// What is left of a GPU to a kernel while kernels of communication hold a share s of its compute units and h of its
/// HBM's bandwidth. Its speed, 1 by itself, is
///
///   r = min(1, (1 − s) / u, (1 − h) / m)
///
/// with u the share of the compute units that it needs for its full speed, which depends on what holds it back, and m
/// the share of the HBM's bandwidth that it takes then (its bytes / its time by itself / the bandwidth).
struct ContentionTerms {
  double compute_bound = 1.0;
  double memory_bound = 1.0;
  double overhead_bound = 1.0;

  template <class F>
  static void describe(F& f) {
    const Rules share{.maximum = 1.0, .positive = true};
    f.optional("compute_bound", &ContentionTerms::compute_bound,
               "Share of the compute units that kernels held back by the tensor cores need", share);
    f.optional("memory_bound", &ContentionTerms::memory_bound, "Those held back by the HBM", share);
    f.optional("overhead_bound", &ContentionTerms::overhead_bound, "Those held back by launch and fixed latency",
               share);
  }
};

enum class ProfiledCollective {
  kAllReduce,
  kAllGather,
  kReduceScatter,
  kAllToAll,
  kInSwitchAllReduce,
  kOneShotAllReduce,
  kTwoShotAllReduce,
  kPointToPoint
};
template <>
struct EnumNames<ProfiledCollective> {
  static constexpr auto names = std::to_array<std::pair<ProfiledCollective, std::string_view>>(
      {{ProfiledCollective::kAllReduce, "all_reduce"},
       {ProfiledCollective::kAllGather, "all_gather"},
       {ProfiledCollective::kReduceScatter, "reduce_scatter"},
       {ProfiledCollective::kAllToAll, "all_to_all"},
       {ProfiledCollective::kInSwitchAllReduce, "in_switch_all_reduce"},
       {ProfiledCollective::kOneShotAllReduce, "one_shot_all_reduce"},
       {ProfiledCollective::kTwoShotAllReduce, "two_shot_all_reduce"},
       {ProfiledCollective::kPointToPoint, "point_to_point"}});
};

/// One of the protocols that a library has for a collective, such as NCCL's LL and Simple; it takes the faster one.
///
///   time = overhead + per_rank·ranks + local bytes / (local_copy · scale-up bandwidth) + Σ steps on the longest way +
///   transfer step = step + path_share·(latency of the path)           inside a scale-up domain
///        = network_step + network_path_share·(latency)       over the network
///
/// A path's latency is that between two programs; a step of a running kernel sees less of it where flags travel with
/// the data, and more where it must wait for fences and a proxy.
struct CollectiveTerms {
  double scale_up_efficiency = 1.0;
  double network_efficiency = 1.0;
  Duration overhead = {};
  Duration per_rank = {};
  Duration step = {};
  double path_share = 1.0;
  Duration network_step = {};
  double network_path_share = 1.0;
  std::optional<double> local_copy = std::nullopt;

  template <class F>
  static void describe(F& f) {
    const Rules share{.maximum = 1.0, .positive = true};
    f.required("scale_up_efficiency", &CollectiveTerms::scale_up_efficiency, "Share of the scale-up bandwidth", share);
    f.required("network_efficiency", &CollectiveTerms::network_efficiency, "Share of the NICs' bandwidth", share);
    f.required("overhead", &CollectiveTerms::overhead, "Fixed time");
    f.optional("per_rank", &CollectiveTerms::per_rank, "More of it for each participating rank");
    f.optional("step", &CollectiveTerms::step, "Time of one step inside a domain besides its path's latency");
    f.optional("path_share", &CollectiveTerms::path_share, "Share of the path's latency that such a step takes",
               Rules::between(0, 100));
    f.optional("network_step", &CollectiveTerms::network_step, "Time of one step over the network besides its path's");
    f.optional("network_path_share", &CollectiveTerms::network_path_share, "Share of the path's latency there",
               Rules::between(0, 100));
    f.optional("local_copy", &CollectiveTerms::local_copy,
               "Rate at which a rank copies or reduces its own part, over the scale-up bandwidth; absent: beside the "
               "transfer",
               Rules{.positive = true});
  }
};

/// By protocol's name.
using CollectiveVariants = std::map<std::string, CollectiveTerms>;
using CollectiveTable = std::map<ProfiledCollective, CollectiveVariants>;

/// Share of the scale-up bandwidth that a collective reaches when so many bytes leave or enter its busiest rank.
struct PortEfficiency {
  Bytes bytes = {};
  double efficiency = 1.0;

  template <class F>
  static void describe(F& f) {
    f.required("bytes", &PortEfficiency::bytes, "Out of, or into, the busiest rank in the whole collective",
               Rules::above_zero());
    f.required("efficiency", &PortEfficiency::efficiency, "Share of the scale-up bandwidth",
               Rules{.maximum = 1.0, .positive = true});
  }
};

/// A collective of so many ranks in one scale-up domain, as the library runs it with whatever protocol it takes at each
/// size:
///
///   time = overhead + path_share · Σ latency of the paths of the steps + b / (B · η(b))
///
/// with b the bytes out of, or into, the busiest rank, and B the scale-up bandwidth, which the flows share. η passes
/// smoothly from protocol to protocol: log η is linear in log b between the points and constant outside.
struct DomainTerms {
  int ranks = 2;
  Duration overhead = {};
  double path_share = 1.0;
  std::vector<PortEfficiency> efficiency = {};
  std::optional<FitErrors> unseen_sizes = std::nullopt;

  template <class F>
  static void describe(F& f) {
    f.required("ranks", &DomainTerms::ranks, "That take part", Rules::between(2, 4096));
    f.required("overhead", &DomainTerms::overhead, "Fixed time besides the paths'");
    f.optional("path_share", &DomainTerms::path_share, "Share of the path's latency that a step takes",
               Rules::between(0, 100));
    f.required("efficiency", &DomainTerms::efficiency, "Share of the scale-up bandwidth, by bytes", Rules::not_empty());
    f.optional("unseen_sizes", &DomainTerms::unseen_sizes, "Errors at sizes that were held back from the fit");
  }
};

/// By rising number of ranks.
using DomainTable = std::map<ProfiledCollective, std::vector<DomainTerms>>;

/// η of `points` for b bytes. Not empty.
double port_efficiency(const std::vector<PortEfficiency>& points, double bytes);

/// What one size of a collective costs a number of ranks: `overhead` and log η are linear in the logarithm of the ranks
/// between those measured, and the nearest measured one's outside.
struct DomainCost {
  Duration overhead = {};
  double path_share = 1.0;
  double efficiency = 1.0;
};
DomainCost domain_cost(const std::vector<DomainTerms>& terms, double ranks, double bytes);

struct CommunicationProfile {
  DispatchTerms low_latency;
  DispatchTerms high_throughput;
  CollectiveTable collective;
  std::map<std::string, CollectiveTable> collective_on = {};
  DomainTable in_domain = {};
  std::map<std::string, DomainTable> in_domain_on = {};
  ContentionTerms contention = {};

  /// Terms inside one scale-up domain of an accelerator, by its name; nullptr where the profile has none, so that
  /// find() holds there, too.
  [[nodiscard]] const std::vector<DomainTerms>* find_in_domain(ProfiledCollective kind,
                                                               const std::string& accelerator) const {
    if (const auto own = in_domain_on.find(accelerator); own != in_domain_on.end()) {
      if (const auto found = own->second.find(kind); found != own->second.end()) {
        return &found->second;
      }
    }
    const auto found = in_domain.find(kind);
    return found == in_domain.end() ? nullptr : &found->second;
  }

  /// Terms of a collective on an accelerator, by its name; nullptr where the profile has none.
  [[nodiscard]] const CollectiveVariants* find(ProfiledCollective kind, const std::string& accelerator) const {
    if (const auto own = collective_on.find(accelerator); own != collective_on.end()) {
      if (const auto found = own->second.find(kind); found != own->second.end()) {
        return &found->second;
      }
    }
    const auto found = collective.find(kind);
    return found == collective.end() ? nullptr : &found->second;
  }

  template <class F>
  static void describe(F& f) {
    f.required("low_latency", &CommunicationProfile::low_latency, "Direct sends of every copy (DeepEP low latency)");
    f.required("high_throughput", &CommunicationProfile::high_throughput,
               "One copy per rank or node, forwarded (DeepEP normal)");
    f.required("collective", &CommunicationProfile::collective, "Collectives, by name of the library's protocol");
    f.optional("collective_on", &CommunicationProfile::collective_on,
               "The same by accelerator, where it was measured on others than the profile's own");
    f.optional("in_domain", &CommunicationProfile::in_domain,
               "Collectives inside one scale-up domain, by rising number of ranks, where they were measured: these "
               "terms go before those of the library's protocols");
    f.optional("in_domain_on", &CommunicationProfile::in_domain_on, "The same by accelerator");
    f.optional("contention", &CommunicationProfile::contention,
               "What kernels beside dispatch and combine need of the GPU");
  }
};

}  // namespace moesim
