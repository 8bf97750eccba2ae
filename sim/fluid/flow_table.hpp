#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "sim/core/id.hpp"
#include "sim/fluid/aligned.hpp"

namespace moesim::fluid {

inline constexpr std::uint32_t kNobody = std::numeric_limits<std::uint32_t>::max();

/// Who owns a flow: a link, or a bundle (bundle.hpp) that a link owns.
class Owner {
 public:
  constexpr Owner() = default;
  static constexpr Owner link(std::uint32_t index) { return Owner(index); }
  static constexpr Owner bundle(std::uint32_t index) { return Owner(index | kBundleBit); }

  [[nodiscard]] constexpr bool is_nobody() const { return code_ == kNobody; }
  [[nodiscard]] constexpr bool is_bundle() const { return (code_ & kBundleBit) != 0 && !is_nobody(); }
  [[nodiscard]] constexpr std::uint32_t index() const { return code_ & ~kBundleBit; }
  constexpr bool operator==(const Owner&) const = default;

 private:
  static constexpr std::uint32_t kBundleBit = 1U << 31;
  constexpr explicit Owner(std::uint32_t code) : code_(code) {}
  std::uint32_t code_ = kNobody;
};

/// A live activity. What is left of it, for each unit of φ, is `tag` minus the clock of its owner; while
/// nobody owns it, `tag` itself.
struct alignas(kAlignment) Flow {
  double fairness = 1.0;
  double tag = 0.0;
  double amount = 0.0;
  std::int64_t since = 0;  ///< tick at which it began to share
  Owner owner;
  std::uint32_t bundle = kNobody;  ///< that would hold it for one of the bundle's links
  std::uint32_t first_use = 0;
  std::uint32_t use_count = 0;
  ActivityId id;
  enum class Stage : char { kFlows, kThrough } stage = Stage::kFlows;  ///< through: no queue holds it any more
};

/// A flow takes weight·x of the link.
struct FlowUse {
  double weight = 0.0;
  std::uint32_t link = 0;
  std::uint32_t position = 0;  ///< in the link's list of users
  std::uint32_t part = 0;      ///< in the flow's bundle
};

/// Flows by number, and their uses, without an allocation a flow: both are used again.
class FlowTable {
 public:
  std::uint32_t add(std::size_t use_count) {
    if (free_flows_.empty()) {
      free_flows_.push_back(static_cast<std::uint32_t>(flows_.size()));
      flows_.emplace_back();
    }
    const std::uint32_t index = free_flows_.back();
    free_flows_.pop_back();
    if (free_uses_.size() <= use_count) {
      free_uses_.resize(use_count + 1);
    }
    std::vector<std::uint32_t>& spare = free_uses_[use_count];
    if (spare.empty()) {
      spare.push_back(static_cast<std::uint32_t>(uses_.size()));
      uses_.resize(uses_.size() + use_count);
    }
    flows_[index] = Flow{};
    flows_[index].first_use = spare.back();
    flows_[index].use_count = static_cast<std::uint32_t>(use_count);
    spare.pop_back();
    return index;
  }
  void remove(std::uint32_t index) {
    flows_[index].owner = Owner();
    free_uses_[flows_[index].use_count].push_back(flows_[index].first_use);
    free_flows_.push_back(index);
  }

  /// A hint that the flow is needed soon; and, once it is at hand, its uses.
  void prefetch(std::uint32_t index) const { __builtin_prefetch(&flows_[index], 1); }
  void prefetch_uses(std::uint32_t index) const { __builtin_prefetch(&uses_[flows_[index].first_use], 1); }

  [[nodiscard]] Flow& operator[](std::uint32_t index) { return flows_[index]; }
  [[nodiscard]] const Flow& operator[](std::uint32_t index) const { return flows_[index]; }
  [[nodiscard]] std::span<FlowUse> uses(std::uint32_t index) {
    return {uses_.data() + flows_[index].first_use, flows_[index].use_count};
  }
  [[nodiscard]] std::span<const FlowUse> uses(std::uint32_t index) const {
    return {uses_.data() + flows_[index].first_use, flows_[index].use_count};
  }
  [[nodiscard]] FlowUse& use(std::uint32_t index) { return uses_[index]; }
  [[nodiscard]] const FlowUse& use(std::uint32_t index) const { return uses_[index]; }

 private:
  AlignedVector<Flow> flows_;
  std::vector<std::uint32_t> free_flows_;
  AlignedVector<FlowUse> uses_;
  std::vector<std::vector<std::uint32_t>> free_uses_;  ///< [number of uses]: first of each free run
};

}  // namespace moesim::fluid
