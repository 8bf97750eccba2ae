#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "sim/fluid/flow_table.hpp"

namespace moesim::fluid {

/// The flows that a link owns, by tag. Most flows change owners before they are anywhere near completion: they wait
/// unsorted in a pile, out of which the least are taken to a small heap when that is empty. A flow that is no longer
/// owned under its tag is dropped when it is met.
class TagQueue {
 public:
  struct Entry {
    double tag;
    std::uint32_t flow;
  };

  void push(Entry entry) {
    if (entry.tag < border_) {
      near_.push_back(entry);
      std::push_heap(near_.begin(), near_.end(), later);
    } else {
      far_.push_back(entry);
    }
  }
  void clear() {
    near_.clear();
    far_.clear();
    border_ = -std::numeric_limits<double>::infinity();
  }
  /// The least that `owner` still owns, null if there is none.
  const Entry* least(const FlowTable& flows, std::uint32_t owner) {
    for (;;) {
      while (!near_.empty() && stale(near_.front(), flows, owner)) {
        pop();
      }
      if (!near_.empty()) {
        return near_.data();
      }
      if (far_.empty()) {
        border_ = -std::numeric_limits<double>::infinity();
        return nullptr;
      }
      sift(flows, owner);
    }
  }
  void pop() {
    std::pop_heap(near_.begin(), near_.end(), later);
    near_.pop_back();
  }
  /// Drops what is stale once it is the greater part; `owned` is how many are not.
  void tidy(const FlowTable& flows, std::uint32_t owner, std::size_t owned) {
    if (near_.size() + far_.size() > 2 * owned + kLeast) {
      drop_stale(near_, flows, owner);
      drop_stale(far_, flows, owner);
      std::make_heap(near_.begin(), near_.end(), later);
    }
  }

 private:
  static constexpr std::size_t kLeast = 16;
  static bool later(const Entry& a, const Entry& b) { return a.tag != b.tag ? a.tag > b.tag : a.flow > b.flow; }
  static bool stale(const Entry& entry, const FlowTable& flows, std::uint32_t owner) {
    return flows[entry.flow].owner != owner || flows[entry.flow].tag != entry.tag;
  }
  static void drop_stale(std::vector<Entry>& entries, const FlowTable& flows, std::uint32_t owner) {
    std::erase_if(entries, [&](const Entry& entry) { return stale(entry, flows, owner); });
  }
  /// Takes the least of the pile, a sixteenth, to the heap.
  void sift(const FlowTable& flows, std::uint32_t owner) {
    drop_stale(far_, flows, owner);
    const std::size_t taken = std::min(far_.size(), std::max(kLeast, far_.size() / 16));
    if (taken == 0) {
      return;
    }
    const auto middle = far_.begin() + static_cast<std::ptrdiff_t>(taken);
    std::nth_element(far_.begin(), middle - 1, far_.end(), [](const Entry& a, const Entry& b) { return later(b, a); });
    border_ = far_[taken - 1].tag;
    near_.assign(far_.begin(), middle);
    std::make_heap(near_.begin(), near_.end(), later);
    // The last ones fill the gap.
    const std::size_t moved = std::min(taken, far_.size() - taken);
    std::copy(far_.end() - static_cast<std::ptrdiff_t>(moved), far_.end(), far_.begin());
    far_.resize(far_.size() - taken);
  }

  std::vector<Entry> near_;  ///< heap, least first: all with a tag below border_
  std::vector<Entry> far_;
  double border_ = -std::numeric_limits<double>::infinity();
};

}  // namespace moesim::fluid
