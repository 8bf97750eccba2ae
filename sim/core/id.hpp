#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace moesim {

/// An index that cannot be mistaken for another kind of index. Absence is std::optional<Id>, never a magic value.
template <class Tag>
class Id {
 public:
  constexpr Id() = default;
  constexpr explicit Id(std::size_t index) : index_(static_cast<std::uint32_t>(index)) {}
  [[nodiscard]] constexpr std::size_t index() const { return index_; }
  constexpr auto operator<=>(const Id&) const = default;

 private:
  std::uint32_t index_ = 0;
};

using RankId = Id<struct RankTag>;          ///< one process on one GPU, 0 .. ranks−1
using NodeId = Id<struct NodeTag>;          ///< one server or scale-up domain
using LinkId = Id<struct LinkTag>;          ///< one direction of one cable or port
using VertexId = Id<struct VertexTag>;      ///< a device or switch of the cluster graph
using ResourceId = Id<struct ResourceTag>;  ///< a capacity that activities share
using ActivityId = Id<struct ActivityTag>;  ///< something that uses capacities over time

}  // namespace moesim

template <class Tag>
struct std::hash<moesim::Id<Tag>> {
  std::size_t operator()(moesim::Id<Tag> id) const noexcept { return std::hash<std::size_t>{}(id.index()); }
};
