#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "sim/config/describe.hpp"

namespace moesim {

/// Which of several shortest paths is taken.
enum class PathChoice { kShortest, kEcmpHash, kEcmpSpray, kDimensionOrder };

template <>
struct EnumNames<PathChoice> {
  static constexpr auto names =
      std::to_array<std::pair<PathChoice, std::string_view>>({{PathChoice::kShortest, "shortest"},
                                                              {PathChoice::kEcmpHash, "ecmp_hash"},
                                                              {PathChoice::kEcmpSpray, "ecmp_spray"},
                                                              {PathChoice::kDimensionOrder, "dimension_order"}});
};

/// How bytes get to a GPU whose NIC hangs on another rail.
enum class CrossRail { kNetwork, kNvlink };

template <>
struct EnumNames<CrossRail> {
  static constexpr auto names = std::to_array<std::pair<CrossRail, std::string_view>>(
      {{CrossRail::kNetwork, "network"}, {CrossRail::kNvlink, "nvlink"}});
};

struct NetworkRouting {
  std::optional<PathChoice> paths;
  std::uint64_t seed = 1;
  std::optional<CrossRail> cross_rail;

  static constexpr std::string_view kDoc = "Which way traffic takes";
  template <class F>
  static void describe(F& f) {
    f.optional("paths", &NetworkRouting::paths,
               "shortest: the first of the shortest paths; ecmp_hash: one of them for each pair of GPUs, by a hash; "
               "ecmp_spray: split evenly at every vertex over all of them; dimension_order: along one dimension of a "
               "torus after the other, the short way round, half each way where both are as short. Absent: "
               "dimension_order on a torus, ecmp_spray elsewhere");
    f.optional("seed", &NetworkRouting::seed, "Of the hash of ecmp_hash");
    f.optional(
        "cross_rail", &NetworkRouting::cross_rail,
        "To another node's GPU on another rail: network: from one's own NIC through the switches; nvlink: to the "
        "GPU of one's own node that has the destination's index, and from its NIC (NCCL's PXN). Absent: nvlink "
        "on rail_only, network elsewhere");
  }
};

/// Whether a fault or a link holds for both directions of a cable.
enum class LinkDirection { kBoth, kOne };

template <>
struct EnumNames<LinkDirection> {
  static constexpr auto names = std::to_array<std::pair<LinkDirection, std::string_view>>(
      {{LinkDirection::kBoth, "both"}, {LinkDirection::kOne, "one"}});
};

/// All links between two vertices: {"link": {"from": "node0/nic3", "to": "leaf3"}}.
struct LinkFault {
  static constexpr std::string_view kTag = "link";
  std::string from;
  std::string to;
  LinkDirection direction = LinkDirection::kBoth;
  double capacity = 0.0;

  template <class F>
  static void describe(F& f) {
    f.required("from", &LinkFault::from, "Name of the vertex at one end", Rules::not_empty());
    f.required("to", &LinkFault::to, "At the other end", Rules::not_empty());
    f.optional("direction", &LinkFault::direction, "one: only from `from` to `to`");
    f.optional("capacity", &LinkFault::capacity, "Fraction that is left of it; 0: dead", Rules::between(0, 1));
  }
};

/// A device with all its links: {"vertex": {"name": "leaf3"}}.
struct VertexFault {
  static constexpr std::string_view kTag = "vertex";
  std::string name;
  double capacity = 0.0;

  template <class F>
  static void describe(F& f) {
    f.required("name", &VertexFault::name, "A GPU, NIC or switch", Rules::not_empty());
    f.optional("capacity", &VertexFault::capacity, "Fraction that is left of each of its links; 0: dead",
               Rules::between(0, 1));
  }
};

using Fault = std::variant<LinkFault, VertexFault>;

}  // namespace moesim
