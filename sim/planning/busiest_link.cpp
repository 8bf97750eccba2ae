#include "sim/planning/busiest_link.hpp"

#include <algorithm>
#include <variant>
#include <vector>

#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"
#include "sim/execute/network_terms.hpp"

namespace moesim {

namespace {

class Walk {
 public:
  Walk(const Program& program, const Cluster& cluster, const CostModel& costs, const CommunicationProfile& profile)
      : program_(program),
        cluster_(cluster),
        costs_(costs),
        terms_(cluster, profile, program.ranks.size()),
        now_(program.ranks.size(), 0.0),
        next_(program.ranks.size(), 0),
        sent_(program.exchanges.size(), 0),
        last_send_(program.exchanges.size(), 0.0),
        transfer_time_(program.exchanges.size(), -1.0),
        kernel_time_(program.kernels.size(), -1.0) {
    result_.link_bytes.assign(cluster.links().size(), 0.0);
  }

  BusiestLinkTime run() {
    std::size_t left = 0;
    for (const auto& stream : program_.ranks) {
      left += stream.size();
    }
    while (left > 0) {
      const std::size_t before = left;
      for (std::size_t rank = 0; rank < program_.ranks.size(); ++rank) {
        left -= advance(rank);
      }
      ensure(left < before, "a rank waits for what nobody sends");
    }
    result_.time = *std::max_element(now_.begin(), now_.end());
    return result_;
  }

 private:
  std::size_t advance(std::size_t rank) {
    const auto& stream = program_.ranks[rank];
    const std::size_t begin = next_[rank];
    for (; next_[rank] < stream.size(); ++next_[rank]) {
      const Instruction& instruction = stream[next_[rank]];
      if (const auto* kernel = std::get_if<RunKernel>(&instruction)) {
        now_[rank] += kernel_time(kernel->kernel) * kernel->repeat;
      } else if (const auto* send = std::get_if<Send>(&instruction)) {
        ++sent_[send->exchange];
        last_send_[send->exchange] = std::max(last_send_[send->exchange], now_[rank]);
      } else {
        const std::uint32_t exchange = std::get<Receive>(instruction).exchange;
        if (sent_[exchange] < program_.ranks.size()) {
          break;
        }
        now_[rank] = std::max(now_[rank], last_send_[exchange] + transfer_time(exchange));
      }
    }
    return next_[rank] - begin;
  }

  double kernel_time(std::uint32_t kernel) {
    double& time = kernel_time_[kernel];
    if (time < 0.0) {
      time = costs_.cost(program_.kernels[kernel]).time.base();
    }
    return time;
  }

  double transfer_time(std::uint32_t index) {
    double& time = transfer_time_[index];
    if (time >= 0.0) {
      return time;
    }
    const Exchange& exchange = program_.exchanges[index];
    const ExchangeTerms terms = terms_.terms(exchange);
    // Links, then the communication units of each rank, of which there are 1 in all.
    const std::size_t links = cluster_.links().size();
    std::vector<double> busy(links + program_.ranks.size(), 0.0);
    for (const Transfer& transfer : exchange.transfers) {
      uses_.clear();
      terms_.uses(transfer, terms, ResourceId(links + transfer.from.index()), uses_);
      for (const Use& use : uses_) {
        const std::size_t resource = use.resource.index();
        const double capacity = resource < links ? cluster_.links()[resource].capacity.base() : 1.0;
        busy[resource] += transfer.bytes * use.weight / capacity;
      }
      count_bytes(transfer);
    }
    Duration latency;
    for (const Duration delay : terms_.delays(exchange, terms)) {
      latency = std::max(latency, delay);
    }
    time = (terms.fixed() + latency).base() + *std::max_element(busy.begin(), busy.end());
    return time;
  }

  void count_bytes(const Transfer& transfer) {
    if (transfer.from == transfer.to || !(transfer.bytes > 0.0)) {
      return;
    }
    const NetworkTerms::Path& path = terms_.path(transfer.from, transfer.to);
    for (const auto& [link, share] : path.route.hops) {
      result_.link_bytes[link.index()] += transfer.bytes * share;
    }
    (path.crosses_network ? result_.bytes_inter_node : result_.bytes_intra_node) += transfer.bytes;
  }

  const Program& program_;
  const Cluster& cluster_;
  const CostModel& costs_;
  NetworkTerms terms_;
  std::vector<double> now_;            // [ranks]
  std::vector<std::size_t> next_;      // [ranks]
  std::vector<std::size_t> sent_;      // [exchanges]: ranks that have sent
  std::vector<double> last_send_;      // [exchanges]
  std::vector<double> transfer_time_;  // [exchanges]; negative: not known yet
  std::vector<double> kernel_time_;    // [kernels]
  std::vector<Use> uses_;
  BusiestLinkTime result_;
};

}  // namespace

BusiestLinkTime busiest_link_time(const Program& program, const Cluster& cluster, const CostModel& costs,
                                  const CommunicationProfile& communication) {
  return Walk(program, cluster, costs, communication).run();
}

}  // namespace moesim
