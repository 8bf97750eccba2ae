#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace moesim::fluid {

/// Lists of links, each kept once and numbered in the order in which they were first asked for.
class LinkLists {
 public:
  LinkLists() : slots_(kFirstSlots, kEmpty) {}

  /// The number of a list, the order of its links counted.
  std::uint32_t number(std::span<const std::uint32_t> list) {
    std::size_t slot = hash(list) & (slots_.size() - 1);
    while (slots_[slot] != kEmpty) {
      if (std::ranges::equal((*this)[slots_[slot]], list)) {
        return slots_[slot];
      }
      slot = (slot + 1) & (slots_.size() - 1);
    }
    const auto number = static_cast<std::uint32_t>(size());
    links_.insert(links_.end(), list.begin(), list.end());
    first_.push_back(links_.size());
    slots_[slot] = number;
    if (2 * size() > slots_.size()) {
      grow();
    }
    return number;
  }

  [[nodiscard]] std::size_t size() const { return first_.size() - 1; }
  [[nodiscard]] std::span<const std::uint32_t> operator[](std::size_t number) const {
    return std::span(links_).subspan(first_[number], first_[number + 1] - first_[number]);
  }

 private:
  static constexpr std::uint32_t kEmpty = UINT32_MAX;
  static constexpr std::size_t kFirstSlots = 64;

  /// FNV-1a over the links, with its high bits brought down.
  static std::size_t hash(std::span<const std::uint32_t> list) {
    std::uint64_t value = 0xcbf29ce484222325U;
    for (const std::uint32_t link : list) {
      value = (value ^ link) * 0x100000001b3U;
    }
    return value ^ (value >> 29U);
  }

  void grow() {
    slots_.assign(2 * slots_.size(), kEmpty);
    for (std::uint32_t number = 0; number < size(); ++number) {
      std::size_t slot = hash((*this)[number]) & (slots_.size() - 1);
      while (slots_[slot] != kEmpty) {
        slot = (slot + 1) & (slots_.size() - 1);
      }
      slots_[slot] = number;
    }
  }

  std::vector<std::uint32_t> links_;
  std::vector<std::size_t> first_{0};
  std::vector<std::uint32_t> slots_;  // open addressing
};

}  // namespace moesim::fluid
