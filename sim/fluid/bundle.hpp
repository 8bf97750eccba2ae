#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "sim/fluid/flow_table.hpp"
#include "sim/fluid/noise.hpp"
#include "sim/fluid/tag_queue.hpp"

namespace moesim::fluid {

/// Flows that have several inner links of their ways in common (those from one leaf switch to another): where one of
/// these links owns them, it owns them all, so that they change from one to another as one.
///
/// The bundle's clock is that of the link that owns it plus an offset, which takes up the difference when it changes
/// owners: the tags of its flows stay as they are.
struct Bundle {
  /// What its flows take of one of their links, those counted that the bundle holds.
  struct Part {
    std::uint32_t link = 0;
    std::uint32_t count = 0;
    std::uint32_t flows = 0;  ///< exclusive or of their numbers
    double claim = 0.0;       ///< Σ w·φ
  };
  std::vector<std::uint32_t> links;  ///< that may own it, ascending
  std::vector<Part> parts;           ///< each link of its flows once
  std::uint32_t owner = kNobody;     ///< while it holds flows: one of `links`
  std::uint32_t held = 0;            ///< flows
  std::uint32_t flows = 0;           ///< exclusive or of their numbers
  double offset = 0.0;
  double due = kInfinity;  ///< the tag under which it waits in its owner's queue
  TagQueue queue;

  [[nodiscard]] bool may_be_owned_by(std::uint32_t link) const {
    return std::find(links.begin(), links.end(), link) != links.end();
  }
};

/// Bundles by number and by their links; they stay for good.
class BundleTable {
 public:
  /// That of these links, ascending.
  std::uint32_t find_or_add(const std::vector<std::uint32_t>& links) {
    const auto [place, made] = numbers_.try_emplace(links, static_cast<std::uint32_t>(bundles_.size()));
    if (made) {
      bundles_.emplace_back().links = links;
    }
    return place->second;
  }
  /// The part of a link, new where there is none yet.
  std::uint32_t part(std::uint32_t bundle, std::uint32_t link) {
    std::vector<Bundle::Part>& parts = bundles_[bundle].parts;
    const auto found = std::find_if(parts.begin(), parts.end(), [&](const auto& part) { return part.link == link; });
    const auto index = static_cast<std::uint32_t>(found - parts.begin());
    if (found == parts.end()) {
      parts.push_back({.link = link});
    }
    return index;
  }

  [[nodiscard]] Bundle& operator[](std::uint32_t index) { return bundles_[index]; }
  [[nodiscard]] const Bundle& operator[](std::uint32_t index) const { return bundles_[index]; }
  [[nodiscard]] std::size_t size() const { return bundles_.size(); }

 private:
  struct Hash {
    std::size_t operator()(const std::vector<std::uint32_t>& links) const {
      std::uint64_t hash = 0;
      for (const std::uint32_t link : links) {
        hash = (hash ^ link) * 0x9e3779b97f4a7c15U;
        hash ^= hash >> 29U;
      }
      return hash;
    }
  };
  std::vector<Bundle> bundles_;
  std::unordered_map<std::vector<std::uint32_t>, std::uint32_t, Hash> numbers_;
};

}  // namespace moesim::fluid
