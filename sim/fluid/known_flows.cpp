#include "sim/fluid/known_flows.hpp"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>

#include "sim/core/error.hpp"
#include "sim/fluid/implied.hpp"
#include "sim/fluid/windows.hpp"

namespace moesim {
namespace {

constexpr std::size_t kFewFlows = 1000;  ///< are solved exactly in less time than in windows
constexpr std::uint32_t kNone = UINT32_MAX;

class KnownFlows {
 public:
  KnownFlows(std::span<const double> capacities, std::span<const KnownFlow> flows, const KnownFlowsOptions& options)
      : capacities_(capacities),
        flows_(flows),
        options_(options),
        binding_(fluid::binding_resources(capacities, flows)),
        weight_(capacities.size(), 0.0),
        local_(capacities.size(), kNone) {
    result_.finish.resize(flows.size());
    result_.busy.resize(capacities.size(), 0.0);
  }

  KnownFlowsResult run() {
    take_components();
    for (const std::vector<std::uint32_t>& flows : components_) {
      if (flows.empty()) {
        continue;
      }
      if (flows.size() <= kFewFlows) {
        one_by_one(flows, 0.0);
      } else if (!one_weight(flows)) {
        one_by_one(flows, options_.epsilon);
      } else {
        const fluid::Component component = component_of(flows);
        fluid::Windows(flows_, component, options_).run(result_);
      }
    }
    take_busy();
    return std::move(result_);
  }

 private:
  [[nodiscard]] bool binds(const Use& use) const { return binding_[use.resource.index()] != 0; }

  std::uint32_t root(std::uint32_t resource) {
    while (parent_[resource] != resource) {
      resource = parent_[resource] = parent_[parent_[resource]];
    }
    return resource;
  }

  /// Flows that share a resource that can bind are of one component, by way of others too.
  void take_components() {
    parent_.resize(capacities_.size());
    std::iota(parent_.begin(), parent_.end(), 0U);
    std::vector<std::uint32_t> resource(flows_.size(), kNone);  // one of each flow
    for (std::size_t flow = 0; flow < flows_.size(); ++flow) {
      for (const Use& use : flows_[flow].uses) {
        if (!binds(use)) {
          continue;
        }
        const std::uint32_t own = root(static_cast<std::uint32_t>(use.resource.index()));
        resource[flow] = resource[flow] == kNone ? own : root(resource[flow]);
        parent_[std::max(own, resource[flow])] = std::min(own, resource[flow]);
      }
      ensure(resource[flow] != kNone, "a flow has no resource that can bind");
    }
    components_.resize(capacities_.size());
    for (std::size_t flow = 0; flow < flows_.size(); ++flow) {
      components_[root(resource[flow])].push_back(static_cast<std::uint32_t>(flow));
    }
  }

  /// Do all flows of each resource have the same weight on it?
  bool one_weight(std::span<const std::uint32_t> flows) {
    for (const std::uint32_t flow : flows) {
      for (const Use& use : flows_[flow].uses) {
        double& weight = weight_[use.resource.index()];
        if (binds(use) && weight != 0.0 && weight != use.weight) {
          return false;
        }
        weight = use.weight;
      }
    }
    return true;
  }

  /// Links are numbered as they first appear: those of one sender's flows stand one behind the other.
  fluid::Component component_of(std::span<const std::uint32_t> flows) {
    fluid::Component component;
    component.flows.assign(flows.begin(), flows.end());
    component.amount.reserve(flows.size());
    component.first.reserve(flows.size() + 1);
    component.first.push_back(0);
    for (const std::uint32_t flow : flows) {
      component.amount.push_back(flows_[flow].amount);
      for (const Use& use : flows_[flow].uses) {
        if (!binds(use)) {
          continue;
        }
        std::uint32_t& link = local_[use.resource.index()];
        if (link == kNone) {
          link = static_cast<std::uint32_t>(component.capacity.size());
          component.capacity.push_back(capacities_[use.resource.index()] / use.weight);
        }
        component.links.push_back(link);
      }
      component.first.push_back(component.links.size());
    }
    return component;
  }

  void one_by_one(std::span<const std::uint32_t> flows, double epsilon) {
    FluidSystem system(FluidOptions{.epsilon = epsilon});
    std::vector<std::uint32_t> resources;
    std::vector<Use> uses;
    for (const std::uint32_t flow : flows) {
      uses.clear();
      for (const Use& use : flows_[flow].uses) {
        std::uint32_t& local = local_[use.resource.index()];
        if (local == kNone) {
          local = static_cast<std::uint32_t>(resources.size());
          resources.push_back(static_cast<std::uint32_t>(use.resource.index()));
          system.add_resource(capacities_[use.resource.index()]);
        }
        uses.push_back({ResourceId(local), use.weight});
      }
      system.start({}, {.amount = flows_[flow].amount, .uses = uses, .latency = flows_[flow].latency});
    }
    std::vector<double> carried(resources.size(), 0.0);
    std::size_t slot = 0;
    const auto sample = [&] {
      if (result_.sampled.size() <= slot) {
        result_.sampled.resize(slot + 1, std::vector<double>(capacities_.size(), 0.0));
      }
      for (std::size_t i = 0; i < resources.size(); ++i) {
        const double now = system.carried(ResourceId(i));
        result_.sampled[slot][resources[i]] += now - carried[i];
        carried[i] = now;
      }
      ++slot;
    };
    const bool samples = options_.sample_every < SimTime::never();
    SimTime next_sample = options_.sample_every;
    std::vector<ActivityId> completed;
    while (const auto next = system.next_completion()) {
      completed.clear();
      if (next_sample < *next) {
        system.advance(next_sample, completed);
        sample();
        next_sample += options_.sample_every;
        continue;
      }
      system.advance(*next, completed);
      for (const ActivityId activity : completed) {
        result_.finish[flows[activity.index()]] = *next;
      }
    }
    if (samples && system.time() > next_sample - options_.sample_every) {
      sample();
    }
    for (const std::uint32_t resource : resources) {
      local_[resource] = kNone;  // another component may use what does not bind
    }
  }

  /// The union of the times in which flows are live, resource by resource: in the order of their begin.
  void take_busy() {
    std::vector<std::uint32_t> order(flows_.size());
    std::iota(order.begin(), order.end(), 0U);
    const auto earlier = [&](std::uint32_t a, std::uint32_t b) { return flows_[a].latency < flows_[b].latency; };
    if (!std::is_sorted(order.begin(), order.end(), earlier)) {
      std::stable_sort(order.begin(), order.end(), earlier);
    }
    std::vector<SimTime> until(capacities_.size());
    std::vector<SimTime> busy(capacities_.size());
    for (const std::uint32_t flow : order) {
      for (const Use& use : flows_[flow].uses) {
        SimTime& end = until[use.resource.index()];
        if (result_.finish[flow] > end) {
          busy[use.resource.index()] += result_.finish[flow] - std::max(end, flows_[flow].latency);
          end = result_.finish[flow];
        }
      }
    }
    for (std::size_t resource = 0; resource < busy.size(); ++resource) {
      result_.busy[resource] = busy[resource].duration().base();
    }
  }

  std::span<const double> capacities_;
  std::span<const KnownFlow> flows_;
  const KnownFlowsOptions& options_;
  std::vector<char> binding_;                           // [resources]
  std::vector<std::uint32_t> parent_;                   // [resources], a forest
  std::vector<std::vector<std::uint32_t>> components_;  // their flows
  std::vector<double> weight_;                          // [resources], of the flows seen
  std::vector<std::uint32_t> local_;                    // [resources], in the present component
  KnownFlowsResult result_;
};

}  // namespace

KnownFlowsResult share_known_flows(std::span<const double> capacities, std::span<const KnownFlow> flows,
                                   const KnownFlowsOptions& options) {
  return KnownFlows(capacities, flows, options).run();
}

}  // namespace moesim
