#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace moesim::fluid {

/// The flows that a link owns, by tag. Most flows change owners before they are anywhere near completion: they wait
/// unsorted in a pile, out of which the least are taken to a small heap when that is empty. An entry that no longer
/// holds is dropped when it is met: `holds` is a function of an entry.
class TagQueue {
 public:
  struct Entry {
    double tag;
    std::uint32_t item;  ///< a flow, or a bundle of flows with kBundleItem
  };
  static constexpr std::uint32_t kBundleItem = 1U << 31;

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
  /// The least that holds, null if there is none.
  template <class Holds>
  const Entry* least(const Holds& holds) {
    for (;;) {  // bounded: the pile gets smaller each time
      while (!near_.empty() && !holds(near_.front())) {
        pop();
      }
      if (!near_.empty()) {
        return near_.data();
      }
      if (far_.empty()) {
        border_ = -std::numeric_limits<double>::infinity();
        return nullptr;
      }
      sift(holds);
    }
  }
  void pop() {
    std::pop_heap(near_.begin(), near_.end(), later);
    near_.pop_back();
  }
  /// Drops what does not hold once it is the greater part; `count` is how many may hold. What went away and came back
  /// at one instant has several entries that do: one is kept.
  template <class Holds>
  void tidy(const Holds& holds, std::size_t count) {
    if (near_.size() + far_.size() <= 2 * count + kLeast) {
      return;
    }
    keep(near_, holds);
    keep(far_, holds);
    if (near_.size() + far_.size() > count) {
      keep_one_each(near_);
      keep_one_each(far_);
    }
    std::make_heap(near_.begin(), near_.end(), later);
  }

 private:
  static constexpr std::size_t kLeast = 16;
  static bool later(const Entry& a, const Entry& b) { return a.tag != b.tag ? a.tag > b.tag : a.item > b.item; }
  template <class Holds>
  static void keep(std::vector<Entry>& entries, const Holds& holds) {
    std::erase_if(entries, [&](const Entry& entry) { return !holds(entry); });
  }
  static void keep_one_each(std::vector<Entry>& entries) {
    std::sort(entries.begin(), entries.end(), later);
    const auto same = [](const Entry& a, const Entry& b) { return a.tag == b.tag && a.item == b.item; };
    entries.erase(std::unique(entries.begin(), entries.end(), same), entries.end());
  }
  /// Takes the least of the pile, an eighth, to the heap, but for those that do not hold. The others are not looked
  /// up: that would cost more than to carry them along.
  template <class Holds>
  void sift(const Holds& holds) {
    const std::size_t taken = std::min(far_.size(), std::max(kLeast, far_.size() / 8));
    const auto middle = far_.begin() + static_cast<std::ptrdiff_t>(taken);
    std::nth_element(far_.begin(), middle - 1, far_.end(), [](const Entry& a, const Entry& b) { return later(b, a); });
    border_ = far_[taken - 1].tag;
    near_.assign(far_.begin(), middle);
    keep(near_, holds);
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
