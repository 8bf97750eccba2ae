#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "sim/fluid/aligned.hpp"
#include "sim/fluid/component.hpp"
#include "sim/fluid/lane_kernels.hpp"
#include "sim/fluid/link_lists.hpp"

namespace moesim::fluid {

/// Flows with the same head, in packs.
struct Head {
  std::span<const std::uint32_t> links;  ///< the row's own first
  std::size_t begin;                     ///< in the table of packs
  std::size_t packs;
};

/// The heads that begin with one link.
struct Row {
  std::uint32_t link;
  std::size_t first_head;
  std::size_t heads;
  std::size_t live = 0;  ///< flows
  bool alone = true;     ///< are all flows of the link in this row?
};

/// The flows of a component, such that loops over them are loops over arrays.
///
/// A flow's links are cut in two: its head (a sender's port, its leaf's trunk) and its tail (the receiver's trunk and
/// port). What a tail's links allow is one number for all flows with that tail, so that a flow has two numbers to look
/// at, however long its route. Flows of one head stand in the order of their tails, in packs: kLanes tails that follow
/// each other, a lane for each, empty where there is no such flow; a further pack for further flows of the same two.
/// Tails that most rows have stand in the order of their bytes: those that end early leave whole packs empty, which are
/// dropped now and then.
class PackedFlows {
 public:
  explicit PackedFlows(const Component& component);

  [[nodiscard]] std::span<Row> rows() { return rows_; }
  [[nodiscard]] std::span<const Head> heads(const Row& row) const {
    return std::span(heads_).subspan(row.first_head, row.heads);
  }
  [[nodiscard]] const Head& head(std::size_t head) const { return heads_[head]; }
  [[nodiscard]] std::size_t head_count() const { return heads_.size(); }
  /// Links of a tail; none for those that fill up the last pack.
  [[nodiscard]] std::span<const std::uint32_t> tail(std::size_t tail) const { return tails_[tail]; }
  [[nodiscard]] std::size_t tails() const { return tails_.size(); }  ///< a multiple of kLanes

  /// A head's packs, their limits at `limit` in packs.
  [[nodiscard]] Packs packs(const Head& head, std::size_t limit = 0) {
    return {head.packs, pack_tail_.data() + head.begin, left_.data() + kLanes * head.begin,
            limit_.data() + kLanes * limit};
  }
  [[nodiscard]] const float* limits() const { return limit_.data(); }
  /// Who stands at a place of a head's packs.
  [[nodiscard]] std::uint32_t flow(const Head& head, std::uint32_t place) const {
    return flow_[kLanes * head.begin + place];
  }
  [[nodiscard]] std::uint32_t tail_of(const Head& head, std::uint32_t place) const {
    return static_cast<std::uint32_t>(kLanes * pack_tail_[head.begin + place / kLanes] + place % kLanes);
  }

  void begin(std::uint32_t flow, double amount);
  [[nodiscard]] std::size_t to_begin() const { return to_begin_; }
  /// Drops packs in which nobody is left; when all have begun.
  void compact();

  template <class Visit>
  void each_live(const Visit& visit) const {
    for (const Head& head : heads_) {
      for (std::size_t place = kLanes * head.begin; place < kLanes * (head.begin + head.packs); ++place) {
        if (left_[place] > 0.0F) {
          visit(flow_[place], static_cast<double>(left_[place]));
        }
      }
    }
  }

 private:
  void cut(const Component& component);
  void order_tails(const Component& component);
  void pack();

  LinkLists head_lists_, tail_lists_;
  std::vector<std::uint32_t> head_of_, tail_of_;  // [flows]; tails only until they are packed
  std::vector<std::span<const std::uint32_t>> tails_;
  std::vector<Row> rows_;
  std::vector<Head> heads_;
  std::vector<std::uint32_t> row_of_head_;
  std::vector<std::uint32_t> pack_tail_;
  AlignedVector<float> left_, limit_;  // limit_: of one row
  std::vector<std::uint32_t> flow_;    // [places]
  std::vector<std::uint32_t> place_;   // [flows]
  std::size_t to_begin_ = 0;
};

}  // namespace moesim::fluid
