#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <variant>

#include "models/kernels/profile.hpp"
#include "sim/core/error.hpp"
#include "sim/core/units.hpp"

namespace moesim {
namespace {

/// log(efficiency) over log(traffic), piecewise linear, constant outside (OperatorTerms::memory_efficiency).
class EfficiencyCurve {
 public:
  EfficiencyCurve() = default;
  explicit EfficiencyCurve(const std::vector<EfficiencyPoint>& points) {
    for (const EfficiencyPoint& point : points) {
      log_traffic_.push_back(std::log(point.traffic.base()));
      log_efficiency_.push_back(std::log(point.efficiency));
    }
  }

  [[nodiscard]] double at(Bytes traffic) const {
    if (log_traffic_.size() == 1) {
      return std::exp(log_efficiency_.front());
    }
    const double x = std::log(traffic.base());
    const auto above = std::upper_bound(log_traffic_.begin(), log_traffic_.end(), x);
    if (above == log_traffic_.begin()) {
      return std::exp(log_efficiency_.front());
    }
    if (above == log_traffic_.end()) {
      return std::exp(log_efficiency_.back());
    }
    const auto i = static_cast<std::size_t>(above - log_traffic_.begin());
    const double share = (x - log_traffic_[i - 1]) / (log_traffic_[i] - log_traffic_[i - 1]);
    return std::exp(log_efficiency_[i - 1] + share * (log_efficiency_[i] - log_efficiency_[i - 1]));
  }

 private:
  std::vector<double> log_traffic_;
  std::vector<double> log_efficiency_;
};

/// What a kind of kernel does with one type on one accelerator, worked out once.
struct Resolved {
  std::string impossible;  ///< why it cannot be computed; empty if it can
  FlopRate peak;           ///< of the type computed in
  FlopRate rate;           ///< compute efficiency included
  EfficiencyCurve curve;
  Duration launch;
  Duration floor;
  std::vector<std::string> warnings;
};

/// The type whose weights or cache a kernel reads.
DataType stored_type(const Kernel& kernel) {
  struct Visitor {
    DataType operator()(const Gemm& k) const { return k.weight; }
    DataType operator()(const GroupedGemm& k) const { return k.weight; }
    DataType operator()(const ContextAttention& k) const { return k.kv; }
    DataType operator()(const GenerationAttention& k) const { return k.kv; }
    DataType operator()(const LatentGenerationAttention& k) const { return k.kv; }
    DataType operator()(const Streaming&) const { return DataType::kBf16; }
    DataType operator()(const Experts& k) const { return k.weight; }
    DataType operator()(const IndexScores&) const { return DataType::kFp8Block; }
    DataType operator()(const ContextAttentionBackward& k) const { return k.forward.kv; }
  };
  return std::visit(Visitor{}, kernel);
}

class RooflineModel final : public CostModel {
 public:
  RooflineModel(const RooflineProfile& profile, const Accelerator& accelerator)
      : name_(profile.name),
        accelerator_(accelerator),
        bandwidth_(accelerator.memory_bandwidth),
        attention_backward_rate_(profile.attention_backward_rate) {
    check_profile(profile, {profile.name, ""});
    for (const auto& [op, name] : EnumNames<Operator>::names) {
      const OperatorProfile& terms = profile.operators.at(op);
      ranges_[index(op)] = {terms.smallest, terms.largest};
      for (const auto& [stored, stored_name] : EnumNames<DataType>::names) {
        for (const auto& [compute, compute_name] : EnumNames<DataType>::names) {
          table_[index(op)][index(stored)][index(compute)] = resolve(profile, op, stored, compute);
        }
      }
    }
    if (std::find(profile.measured_on.begin(), profile.measured_on.end(), accelerator.name) ==
        profile.measured_on.end()) {
      unmeasured_ = fmt::format("profile {} was measured on {}; its efficiencies are taken to hold on {} too", name_,
                                fmt::join(profile.measured_on, ", "), accelerator.name);
    }
  }

  [[nodiscard]] KernelCost cost(const Kernel& kernel) const override {
    if (const auto* experts = std::get_if<Experts>(&kernel)) {
      return sum_of_parts(*experts);
    }
    if (const auto* backward = std::get_if<ContextAttentionBackward>(&kernel)) {
      return backward_cost(cost(backward->forward), *backward, attention_backward_rate_, bandwidth_);
    }
    KernelCost cost;
    cost.demand = demand_of(kernel);
    if (cost.demand.work == Flops{} && cost.demand.traffic == Bytes{}) {
      return cost;
    }
    const Resolved& terms = terms_for(kernel, cost.demand);
    const bool streams = std::holds_alternative<Streaming>(kernel);
    const Duration compute = streams ? Duration{} : cost.demand.work / terms.rate;
    cost.peak_time = streams ? Duration{} : cost.demand.work / terms.peak;
    const Duration memory = cost.demand.traffic > Bytes{}
                                ? cost.demand.traffic / (bandwidth_ * terms.curve.at(cost.demand.traffic))
                                : Duration{};
    const Duration busy = std::max(compute, memory);
    cost.time = std::max(terms.floor, terms.launch + busy);
    cost.busy = std::min(busy, cost.time);
    cost.bound = compute > memory ? Bound::kCompute : Bound::kMemory;
    cost.confidence = terms.warnings.empty() && unmeasured_.empty() && in_range(kernel, cost.demand.traffic)
                          ? Confidence::kMeasured
                          : Confidence::kExtrapolated;
    return cost;
  }

  [[nodiscard]] std::vector<std::string> warnings(const Kernel& kernel) const override {
    if (const auto* experts = std::get_if<Experts>(&kernel)) {
      const ExpertParts parts = parts_of(*experts);
      std::vector<std::string> all = warnings(parts.up);
      for (const Kernel& part : {Kernel(parts.activation), Kernel(parts.down)}) {
        for (std::string& warning : warnings(part)) {
          if (std::find(all.begin(), all.end(), warning) == all.end()) {
            all.push_back(std::move(warning));
          }
        }
      }
      return all;
    }
    if (const auto* backward = std::get_if<ContextAttentionBackward>(&kernel)) {
      return warnings(backward->forward);
    }
    const KernelDemand demand = demand_of(kernel);
    if (demand.work == Flops{} && demand.traffic == Bytes{}) {
      return {};
    }
    std::vector<std::string> warnings = terms_for(kernel, demand).warnings;
    if (!unmeasured_.empty()) {
      warnings.push_back(unmeasured_);
    }
    if (!in_range(kernel, demand.traffic)) {
      const Range& range = ranges_[index(operator_of(kernel))];
      warnings.push_back(fmt::format("{} of {} lies outside the {} to {} that profile {} was measured on",
                                     title_of(kernel), to_text(demand.traffic), to_text(range.smallest),
                                     to_text(range.largest), name_));
    }
    return warnings;
  }

 private:
  /// Nothing is fused: the three kernels one after another.
  [[nodiscard]] KernelCost sum_of_parts(const Experts& experts) const {
    const ExpertParts parts = parts_of(experts);
    KernelCost sum = cost(parts.up);
    for (const Kernel& part : {Kernel(parts.activation), Kernel(parts.down)}) {
      const KernelCost more = cost(part);
      sum.time += more.time;
      sum.busy += more.busy;
      sum.peak_time += more.peak_time;
      if (more.confidence == Confidence::kExtrapolated) {
        sum.confidence = Confidence::kExtrapolated;
      }
    }
    sum.demand = demand_of(Kernel(experts));
    return sum;
  }

  struct Range {
    Bytes smallest;
    Bytes largest;
  };
  static constexpr std::size_t kOperators = EnumNames<Operator>::names.size();
  static constexpr std::size_t kTypes = EnumNames<DataType>::names.size();

  template <class E>
  static std::size_t index(E value) {
    return static_cast<std::size_t>(value);
  }

  [[nodiscard]] bool in_range(const Kernel& kernel, Bytes traffic) const {
    const Range& range = ranges_[index(operator_of(kernel))];
    return traffic >= range.smallest && traffic <= range.largest;
  }

  [[nodiscard]] const Resolved& terms_for(const Kernel& kernel, const KernelDemand& demand) const {
    const Resolved& terms = table_[index(operator_of(kernel))][index(stored_type(kernel))][index(demand.compute)];
    if (!terms.impossible.empty()) {
      throw ModelError(terms.impossible);
    }
    return terms;
  }

  /// `type` and after it what it may be computed in instead.
  static std::vector<RateFallback> candidates(const RooflineProfile& profile, DataType type) {
    std::vector<RateFallback> all{{.as = type, .factor = 1.0}};
    if (const auto found = profile.fallbacks.find(type); found != profile.fallbacks.end()) {
      all.insert(all.end(), found->second.begin(), found->second.end());
    }
    return all;
  }

  Resolved resolve(const RooflineProfile& profile, Operator op, DataType stored, DataType compute) const {
    Resolved out;
    const OperatorProfile& terms = profile.operators.at(op);
    const bool streams = op == Operator::kStreaming;
    const bool blocks = compute == DataType::kFp8Block;
    const DataType wanted = multiplied_as(compute, accelerator_);

    // The rate: of the first type that the accelerator has one for.
    DataType computed = wanted;
    FlopRate peak;
    for (const RateFallback& candidate : candidates(profile, wanted)) {
      if (const auto found = accelerator_.peak.find(candidate.as); found != accelerator_.peak.end()) {
        computed = candidate.as;
        peak = candidate.factor * found->second;
        out.peak = found->second;  // utilisation is against the whole rate, expanding the weights is a loss
        break;
      }
    }
    if (!streams && !(peak > FlopRate{})) {
      out.impossible = fmt::format("{} has no rate for {}, nor for what it could be computed in", accelerator_.name,
                                   name_of(compute));
      return out;
    }
    if (!streams && computed != wanted) {
      out.warnings.push_back(fmt::format("{} has no rate for {}: {} computes in {} and reads its operands as {}",
                                         accelerator_.name, name_of(compute), name_of(op), name_of(computed),
                                         name_of(stored)));
    }

    // Efficiencies: compute's of the type computed in (a native 4-bit or block format has its own), memory's of the
    // type read; each failing that of what it falls back to.
    const DataType compute_key = blocks && computed == DataType::kFp8 ? compute : computed;
    const OperatorTerms* compute_terms = find_terms(profile, terms, compute_key);
    const OperatorTerms* memory_terms = find_terms(profile, terms, stored);
    if (compute_terms == nullptr || memory_terms == nullptr) {
      out.impossible = fmt::format("profile {} has no figures for {} in {}", profile.name, name_of(op),
                                   name_of(compute_terms == nullptr ? compute_key : stored));
      return out;
    }
    if (!terms.types.contains(stored) && out.warnings.empty()) {
      out.warnings.push_back(fmt::format("profile {} has no figures for {} in {}: those of a related type are used",
                                         profile.name, name_of(op), name_of(stored)));
    }
    out.rate = peak * compute_terms->compute_efficiency;
    out.curve = EfficiencyCurve(memory_terms->memory_efficiency);
    out.launch = memory_terms->launch;
    out.floor = memory_terms->floor;
    return out;
  }

  static const OperatorTerms* find_terms(const RooflineProfile& profile, const OperatorProfile& terms, DataType type) {
    for (const RateFallback& candidate : candidates(profile, type)) {
      if (const auto found = terms.types.find(candidate.as); found != terms.types.end()) {
        return &found->second;
      }
    }
    return nullptr;
  }

  std::string name_;
  Accelerator accelerator_;
  Bandwidth bandwidth_;
  double attention_backward_rate_;
  std::string unmeasured_;
  std::array<Range, kOperators> ranges_;
  std::array<std::array<std::array<Resolved, kTypes>, kTypes>, kOperators> table_;
};

}  // namespace

std::unique_ptr<CostModel> make_cost_model(const RooflineProfile& profile, const Accelerator& accelerator) {
  return std::make_unique<RooflineModel>(profile, accelerator);
}

}  // namespace moesim
