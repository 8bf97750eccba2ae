#include "sim/fluid/known_flows.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <utility>

#include "sim/core/error.hpp"
#include "sim/fluid/implied.hpp"
#include "sim/fluid/windows.hpp"

namespace moesim {
namespace {

constexpr std::size_t kFewFlows = 1000;  ///< are solved exactly in less time than in windows
constexpr double kLeastEpsilon = 1e-3;   ///< below it, windows are so short that event by event is faster
constexpr double kSameAmount = 1e-9;     ///< of what a resource is to carry
constexpr std::uint32_t kNone = UINT32_MAX;

class KnownFlows {
 public:
  KnownFlows(std::span<const double> capacities, std::span<const KnownFlow> flows, const KnownFlowsOptions& options)
      : capacities_(capacities),
        flows_(flows),
        options_(options),
        binding_(fluid::binding_resources(capacities, flows)),
        local_(capacities.size(), kNone) {
    result_.finish.resize(flows.size());
    result_.busy.resize(capacities.size(), 0.0);
  }

  KnownFlowsResult run(const TaskPool& pool) {
    take_parts();
    std::vector<fluid::Samples> samples(parts_.size());
    pool.for_each_index(parts_.size(), [&](std::size_t index) {
      const Part& part = parts_[index];
      if (part.flows.size() <= kFewFlows) {
        event_by_event(part, 0.0, samples[index]);
      } else if (options_.epsilon < kLeastEpsilon || part.weights == Part::Weights::kSeveral) {
        event_by_event(part, options_.epsilon, samples[index]);
      } else {
        fluid::Windows(flows_, component_of(part), {options_.epsilon, options_.sample_every, capacities_.size()})
            .run(result_.finish, samples[index]);
      }
    });
    for (const fluid::Samples& of_part : samples) {
      add(of_part);
    }
    if (options_.epsilon > 0.0) {
      keep_bounds();
    }
    take_busy();
    return std::move(result_);
  }

 private:
  /// Flows that share a resource that can bind, by way of others too.
  struct Part {
    std::vector<std::uint32_t> flows;
    std::uint32_t links = 0;                                                               ///< that can bind
    enum class Weights : std::uint8_t { kOneEach, kSeveral } weights = Weights::kOneEach;  ///< on a resource
  };

  [[nodiscard]] bool binds(const Use& use) const { return binding_[use.resource.index()] != 0; }

  /// The flows of each part; its links are numbered as they first appear: those of one sender's flows stand one behind
  /// the other.
  void take_parts() {
    std::vector<std::uint32_t> parent(capacities_.size());  // a forest of resources
    std::iota(parent.begin(), parent.end(), 0U);
    const auto root = [&](std::uint32_t resource) {
      while (parent[resource] != resource) {
        resource = parent[resource] = parent[parent[resource]];
      }
      return resource;
    };
    std::vector<std::uint32_t> resource(flows_.size(), kNone);  // one of each flow
    for (std::size_t flow = 0; flow < flows_.size(); ++flow) {
      for (const Use& use : flows_[flow].uses) {
        if (!binds(use)) {
          continue;
        }
        const std::uint32_t own = root(static_cast<std::uint32_t>(use.resource.index()));
        resource[flow] = resource[flow] == kNone ? own : root(resource[flow]);
        parent[std::max(own, resource[flow])] = std::min(own, resource[flow]);
      }
      ensure(resource[flow] != kNone, "a flow has no resource that can bind");
    }
    std::vector<std::uint32_t> part_of(capacities_.size(), kNone);
    std::vector<double> weight(capacities_.size(), 0.0);  // of the flows seen
    for (std::size_t flow = 0; flow < flows_.size(); ++flow) {
      std::uint32_t& index = part_of[root(resource[flow])];
      if (index == kNone) {
        index = static_cast<std::uint32_t>(parts_.size());
        parts_.emplace_back();
      }
      Part& part = parts_[index];
      part.flows.push_back(static_cast<std::uint32_t>(flow));
      for (const Use& use : flows_[flow].uses) {
        if (!binds(use)) {
          continue;
        }
        const std::size_t link = use.resource.index();
        if (local_[link] == kNone) {
          local_[link] = part.links++;
          weight[link] = use.weight;
        } else if (weight[link] != use.weight) {
          part.weights = Part::Weights::kSeveral;
        }
      }
    }
  }

  [[nodiscard]] fluid::Component component_of(const Part& part) const {
    fluid::Component component;
    component.flows = part.flows;
    component.capacity.resize(part.links);
    component.amount.reserve(part.flows.size());
    component.first.reserve(part.flows.size() + 1);
    component.first.push_back(0);
    for (const std::uint32_t flow : part.flows) {
      component.amount.push_back(flows_[flow].amount);
      for (const Use& use : flows_[flow].uses) {
        if (binds(use)) {
          const std::uint32_t link = local_[use.resource.index()];
          component.capacity[link] = capacities_[use.resource.index()] / use.weight;
          component.links.push_back(link);
        }
      }
      component.first.push_back(component.links.size());
    }
    return component;
  }

  /// Sets the finish times of the part's flows, by FluidSystem over all resources that they use.
  void event_by_event(const Part& part, double epsilon, fluid::Samples& samples) {
    std::vector<std::uint32_t> resources;
    for (const std::uint32_t flow : part.flows) {
      for (const Use& use : flows_[flow].uses) {
        resources.push_back(static_cast<std::uint32_t>(use.resource.index()));
      }
    }
    std::sort(resources.begin(), resources.end());
    resources.erase(std::unique(resources.begin(), resources.end()), resources.end());
    FluidSystem system(FluidOptions{.epsilon = epsilon});
    for (const std::uint32_t resource : resources) {
      system.add_resource(capacities_[resource]);
    }
    std::vector<double> load(resources.size(), 0.0);
    std::vector<Use> uses;
    for (const std::uint32_t flow : part.flows) {
      uses.clear();
      for (const Use& use : flows_[flow].uses) {
        const auto found = std::lower_bound(resources.begin(), resources.end(), use.resource.index());
        const auto local = static_cast<std::size_t>(found - resources.begin());
        uses.push_back({ResourceId(local), use.weight});
        load[local] += use.weight * flows_[flow].amount;
      }
      system.start({}, {.amount = flows_[flow].amount, .uses = uses, .latency = flows_[flow].latency});
    }
    std::vector<double> carried(resources.size(), 0.0);
    const auto sample = [&] {
      std::vector<fluid::Sample>& slot = samples.emplace_back();
      for (std::size_t i = 0; i < resources.size(); ++i) {
        const double now = system.carried(ResourceId(i));
        slot.push_back({resources[i], now - carried[i]});
        carried[i] = now;
      }
    };
    const bool wanted = options_.sample_every < SimTime::never();
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
        result_.finish[part.flows[activity.index()]] = *next;
      }
    }
    if (wanted && system.time() > next_sample - options_.sample_every) {
      sample();
    }
    for (std::size_t i = 0; i < resources.size(); ++i) {
      ensure(std::abs(system.carried(ResourceId(i)) - load[i]) <= kSameAmount * load[i],
             "a resource carried other amounts than its flows have");
    }
  }

  void add(const fluid::Samples& samples) {
    for (std::size_t slot = 0; slot < samples.size(); ++slot) {
      if (result_.sampled.size() <= slot) {
        result_.sampled.resize(slot + 1, std::vector<double>(capacities_.size(), 0.0));
      }
      for (const fluid::Sample& sample : samples[slot]) {
        result_.sampled[slot][sample.resource] += sample.amount;
      }
    }
  }

  /// Levels that are nearly right must not make a resource faster than it can be.
  void keep_bounds() {
    struct Bound {
      double amount = 0.0;
      SimTime earliest = SimTime::never();
      std::uint32_t last = kNone;  ///< of its flows
    };
    std::vector<Bound> bounds(capacities_.size());
    for (std::uint32_t flow = 0; flow < flows_.size(); ++flow) {
      for (const Use& use : flows_[flow].uses) {
        Bound& bound = bounds[use.resource.index()];
        bound.last = bound.last == kNone || result_.finish[flow] > result_.finish[bound.last] ? flow : bound.last;
        bound.amount += use.weight * flows_[flow].amount;
        bound.earliest = std::min(bound.earliest, flows_[flow].latency);
      }
    }
    for (std::size_t resource = 0; resource < bounds.size(); ++resource) {
      const Bound& bound = bounds[resource];
      if (bound.last != kNone) {
        SimTime& finish = result_.finish[bound.last];
        finish = std::max(finish, bound.earliest + round_to_ticks(seconds(bound.amount / capacities_[resource])));
      }
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
  std::vector<char> binding_;         // [resources]
  std::vector<std::uint32_t> local_;  // [resources], in their part; of those that bind
  std::vector<Part> parts_;
  KnownFlowsResult result_;
};

}  // namespace

KnownFlowsResult share_known_flows(std::span<const double> capacities, std::span<const KnownFlow> flows,
                                   const KnownFlowsOptions& options, const TaskPool& pool) {
  return KnownFlows(capacities, flows, options).run(pool);
}

}  // namespace moesim
