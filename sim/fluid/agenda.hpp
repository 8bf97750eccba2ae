#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace moesim::fluid {

/// Links that are to be looked at, lowest level first; of equal levels the link of the lowest number first. A binary
/// heap of words that hold the leading bits of a level (doubles that are not negative are in the order of their bits;
/// 32 bits of the mantissa count) and the number of the link.
class Agenda {
 public:
  static constexpr std::uint32_t kLinkBits = 20;

  [[nodiscard]] bool empty() const { return heap_.empty(); }

  /// `level` ≥ 0.
  void push(std::uint32_t link, double level) {
    const std::uint64_t entry = (std::bit_cast<std::uint64_t>(level) & ~kLinkMask) | link;
    heap_.push_back(entry);
    rise(heap_.size() - 1, entry);
  }
  std::uint32_t pop() {
    const auto link = static_cast<std::uint32_t>(heap_.front() & kLinkMask);
    const std::uint64_t last = heap_.back();
    heap_.pop_back();
    const std::size_t size = heap_.size();
    if (size > 0) {
      // The gap goes down to the bottom, where the last entry belongs or nearly so: one comparison a step, and no
      // branch that depends on it.
      std::size_t gap = 0;
      for (std::size_t child = 1; child + 1 < size; child = 2 * gap + 1) {
        child += static_cast<std::size_t>(heap_[child + 1] < heap_[child]);
        heap_[gap] = heap_[child];
        gap = child;
      }
      if (2 * gap + 1 < size) {
        heap_[gap] = heap_[2 * gap + 1];
        gap = 2 * gap + 1;
      }
      rise(gap, last);
    }
    return link;
  }

 private:
  static constexpr std::uint64_t kLinkMask = (std::uint64_t{1} << kLinkBits) - 1;

  void rise(std::size_t place, std::uint64_t entry) {
    while (place > 0 && entry < heap_[(place - 1) / 2]) {
      heap_[place] = heap_[(place - 1) / 2];
      place = (place - 1) / 2;
    }
    heap_[place] = entry;
  }

  std::vector<std::uint64_t> heap_;
};

}  // namespace moesim::fluid
