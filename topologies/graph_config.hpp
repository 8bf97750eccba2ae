#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/config/describe.hpp"
#include "sim/core/quantity.hpp"
#include "topologies/graph.hpp"
#include "topologies/network_routing.hpp"

namespace moesim {

template <>
struct EnumNames<VertexKind> {
  static constexpr auto names =
      std::to_array<std::pair<VertexKind, std::string_view>>({{VertexKind::kGpu, "gpu"},
                                                              {VertexKind::kNvSwitch, "nvswitch"},
                                                              {VertexKind::kPcieSwitch, "pcie_switch"},
                                                              {VertexKind::kHostBridge, "host_bridge"},
                                                              {VertexKind::kNic, "nic"},
                                                              {VertexKind::kLeaf, "leaf"},
                                                              {VertexKind::kSpine, "spine"},
                                                              {VertexKind::kCore, "core"},
                                                              {VertexKind::kRouter, "router"},
                                                              {VertexKind::kSwitch, "switch"}});
};

template <>
struct EnumNames<LinkKind> {
  static constexpr auto names = std::to_array<std::pair<LinkKind, std::string_view>>(
      {{LinkKind::kScaleUp, "scale_up"}, {LinkKind::kHost, "host"}, {LinkKind::kNetwork, "network"}});
};

/// Whether GPUs of a graph pass traffic of others on.
enum class GpuForwarding { kNever, kAlways };

template <>
struct EnumNames<GpuForwarding> {
  static constexpr auto names = std::to_array<std::pair<GpuForwarding, std::string_view>>(
      {{GpuForwarding::kNever, "never"}, {GpuForwarding::kAlways, "always"}});
};

struct GraphVertex {
  std::string name;
  VertexKind kind = VertexKind::kGpu;

  template <class F>
  static void describe(F& f) {
    f.required("name", &GraphVertex::name, "Of its own in the graph", Rules::not_empty());
    f.required("kind", &GraphVertex::kind, "What stands there");
  }
};

struct GraphLink {
  std::string from;
  std::string to;
  Bandwidth bandwidth;
  Duration latency;
  LinkKind kind = LinkKind::kNetwork;
  LinkDirection direction = LinkDirection::kBoth;
  std::uint32_t weight = 1;

  template <class F>
  static void describe(F& f) {
    f.required("from", &GraphLink::from, "Name of a vertex", Rules::not_empty());
    f.required("to", &GraphLink::to, "Name of another vertex", Rules::not_empty());
    f.required("bandwidth", &GraphLink::bandwidth, "Each direction", Rules::above_zero());
    f.required("latency", &GraphLink::latency, "Routes add up the latencies of their links");
    f.optional("kind", &GraphLink::kind, "Which of the cost profile's efficiencies holds for it");
    f.optional("direction", &GraphLink::direction, "both: a cable; one: only from `from` to `to`");
    f.optional("weight", &GraphLink::weight, "In the length of a path; the shortest are taken", Rules::between(1, 64));
  }
};

/// Any network, vertex by vertex and link by link.
struct GraphConfig {
  std::vector<GraphVertex> vertices;
  std::vector<GraphLink> links;
  GpuForwarding gpus_forward = GpuForwarding::kNever;

  static constexpr std::string_view kDoc = "Vertices and the links between them";
  template <class F>
  static void describe(F& f) {
    f.required("vertices", &GraphConfig::vertices, "Rank r runs on the r-th GPU here", Rules::not_empty());
    f.required("links", &GraphConfig::links, "Between them");
    f.optional("gpus_forward", &GraphConfig::gpus_forward, "Whether routes may pass through GPUs");
  }
};

}  // namespace moesim
