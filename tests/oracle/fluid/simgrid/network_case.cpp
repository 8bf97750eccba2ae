#include "tests/oracle/fluid/simgrid/network_case.hpp"

#include <algorithm>
#include <cmath>
#include <span>

#include "sim/core/random.hpp"

namespace moesim::oracle {
namespace {

constexpr std::int64_t kTicksPerMicrosecond = 1'000'000;

class Generator {
 public:
  explicit Generator(std::uint64_t number) : random_(29, "random network", number), number_(number) {}

  NetworkCase make() {
    switch (number_ % 3) {
      case 0:
        any_links();
        break;
      case 1:
        chain();
        break;
      default:
        leaves();
        break;
    }
    start_times();
    return std::move(network_);
  }

 private:
  /// From 2^-2 to 2^2.
  double factor() { return std::exp2(4.0 * random_.uniform() - 2.0); }

  NetworkFlow& add(std::vector<std::uint32_t> route) {
    NetworkFlow flow;
    flow.from = network_.hosts++;
    flow.to = network_.hosts++;
    flow.bytes = static_cast<std::uint64_t>(1e9 * factor());
    flow.route = std::move(route);
    if (number_ % 2 == 0 && random_.below(4) != 0) {
      // Long ones: SimGrid's sums of φ = 1/latency are to be of the order of 1, since its tolerance is absolute.
      flow.latency =
          SimTime::from_ticks(static_cast<std::int64_t>(100'000 + random_.below(400'000)) * kTicksPerMicrosecond);
    }
    if (random_.below(4) == 0) {
      flow.rate_cap = 5e7 * factor();
    }
    network_.flows.push_back(std::move(flow));
    return network_.flows.back();
  }

  void any_links() {
    const std::size_t links = 1 + random_.below(12);
    for (std::size_t link = 0; link < links; ++link) {
      network_.capacities.push_back(1e9 * factor());
    }
    const std::size_t flows = 1 + random_.below(40);
    std::vector<std::uint32_t> all(links);
    for (std::size_t link = 0; link < links; ++link) {
      all[link] = static_cast<std::uint32_t>(link);
    }
    for (std::size_t flow = 0; flow < flows; ++flow) {
      random_.shuffle(std::span(all));
      const std::size_t length = 1 + random_.below(std::min<std::size_t>(links, 5));
      add({all.begin(), all.begin() + static_cast<std::ptrdiff_t>(length)});
    }
  }

  /// A flow takes some neighbouring links of a chain.
  void chain() {
    const std::size_t links = 2 + random_.below(10);
    for (std::size_t link = 0; link < links; ++link) {
      network_.capacities.push_back(1e9 * factor());
    }
    const std::size_t flows = 2 + random_.below(30);
    for (std::size_t flow = 0; flow < flows; ++flow) {
      const std::size_t first = random_.below(links);
      const std::size_t length = 1 + random_.below(links - first);
      std::vector<std::uint32_t> route;
      for (std::size_t link = first; link < first + length; ++link) {
        route.push_back(static_cast<std::uint32_t>(link));
      }
      add(std::move(route));
    }
  }

  /// Leaves of four ports each way, trunks as wide as two ports, and for every third case as all four.
  void leaves() {
    constexpr std::uint32_t kPorts = 4;
    const auto leaves = static_cast<std::uint32_t>(2 + random_.below(3));
    const std::uint32_t ports = leaves * kPorts;
    const double width = random_.below(3) == 0 ? kPorts : 2.0;
    network_.capacities.assign(2 * ports, 1e9);
    network_.capacities.resize(2 * ports + 2 * leaves, 1e9 * width);
    const std::size_t flows = 10 + random_.below(50);
    for (std::size_t i = 0; i < flows; ++i) {
      const auto from = static_cast<std::uint32_t>(random_.below(ports));
      const auto to = static_cast<std::uint32_t>(random_.below(ports));
      if (from / kPorts == to / kPorts) {
        add({from, ports + to});
      } else {
        add({from, 2 * ports + from / kPorts, 2 * ports + leaves + to / kPorts, ports + to});
      }
    }
  }

  void start_times() {
    SimTime start;
    for (NetworkFlow& flow : network_.flows) {
      if (random_.below(3) == 0) {
        start += SimTime::from_ticks(static_cast<std::int64_t>(random_.below(2'000'000)) * kTicksPerMicrosecond);
      }
      flow.start = start;
    }
  }

  RandomStream random_;
  std::uint64_t number_;
  NetworkCase network_;
};

}  // namespace

std::vector<double> finish_times(const NetworkCase& network, double epsilon) {
  FluidSystem system(FluidOptions{.epsilon = epsilon});
  for (const double capacity : network.capacities) {
    system.add_resource(capacity);
  }
  std::vector<double> finish(network.flows.size(), 0.0);
  std::vector<ActivityId> completed;
  const auto take = [&](SimTime now) {
    completed.clear();
    system.advance(now, completed);
    for (const ActivityId id : completed) {
      finish[id.index()] = now.duration().base();
    }
  };
  std::vector<Use> uses;
  for (const NetworkFlow& flow : network.flows) {
    if (flow.start > system.time()) {
      for (auto next = system.next_completion(); next && *next <= flow.start; next = system.next_completion()) {
        take(*next);
      }
      take(flow.start);
    }
    uses.clear();
    for (const std::uint32_t link : flow.route) {
      uses.push_back({ResourceId(link), 1.0});
    }
    system.start(flow.start, {.amount = static_cast<double>(flow.bytes),
                              .uses = uses,
                              .fairness = flow.fairness(),
                              .rate_cap = flow.rate_cap,
                              .latency = flow.latency});
  }
  while (const auto next = system.next_completion()) {
    take(*next);
  }
  return finish;
}

NetworkCase random_network(std::uint64_t number) { return Generator(number).make(); }

NetworkCase skewed_all_to_all(std::uint32_t gpus, Fabric fabric, std::uint64_t seed) {
  constexpr std::uint32_t kGpusPerNode = 8;
  constexpr std::uint32_t kGpusPerLeaf = 16;
  constexpr double kPort = 450e9;
  constexpr double kNic = 50e9;
  constexpr double kOversubscription = 2.0;
  enum Side : std::uint32_t { kPortOut, kPortIn, kNicOut, kNicIn };
  NetworkCase network;
  network.hosts = gpus;
  network.capacities.assign(2 * std::size_t{gpus}, kPort);
  network.capacities.resize(4 * std::size_t{gpus}, kNic);
  const std::uint32_t leaves = (gpus + kGpusPerLeaf - 1) / kGpusPerLeaf;
  if (fabric == Fabric::kLeafSpine) {
    network.capacities.resize(4 * gpus + 2 * leaves, kNic * kGpusPerLeaf / kOversubscription);
  }
  const auto side = [&](Side which, std::uint32_t gpu) { return which * gpus + gpu; };
  RandomStream random(seed, "all-to-all");
  std::vector<double> popularity(gpus);
  for (std::uint32_t rank = 0; rank < gpus; ++rank) {
    popularity[rank] = 1.0 / (rank + 1.0);
  }
  random.shuffle(std::span(popularity));
  for (std::uint32_t from = 0; from < gpus; ++from) {
    for (std::uint32_t to = 0; to < gpus; ++to) {
      if (from == to) {
        continue;
      }
      NetworkFlow flow;
      flow.from = from;
      flow.to = to;
      flow.bytes = static_cast<std::uint64_t>(8e11 * popularity[to] * std::exp(0.3 * random.normal()));
      if (from / kGpusPerNode == to / kGpusPerNode) {
        flow.route = {side(kPortOut, from), side(kPortIn, to)};
      } else if (fabric == Fabric::kLeafSpine && from / kGpusPerLeaf != to / kGpusPerLeaf) {
        flow.route = {side(kNicOut, from), 4 * gpus + from / kGpusPerLeaf, 4 * gpus + leaves + to / kGpusPerLeaf,
                      side(kNicIn, to)};
      } else {
        flow.route = {side(kNicOut, from), side(kNicIn, to)};
      }
      network.flows.push_back(std::move(flow));
    }
  }
  return network;
}

}  // namespace moesim::oracle
