#pragma once

#include <algorithm>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "sim/core/error.hpp"
#include "sim/core/time.hpp"
#include "sim/engine/quad_heap.hpp"

namespace moesim {

/// The order of what happens at one instant. What ends makes room before what begins looks for it, and who observes
/// sees the instant as it is left.
enum class Phase : std::uint8_t {
  kCompletion,   ///< something ends: a kernel, a transfer, a step
  kArrival,      ///< something comes from outside: a request, a change of capacity
  kDecision,     ///< schedulers choose, knowing all that ended and came
  kStart,        ///< something begins
  kObservation,  ///< samples, progress, ends of windows
};

/// Names an event that was pushed, for as long as the queue lives: never reused.
class EventHandle {
 public:
  EventHandle() = default;
  auto operator<=>(const EventHandle&) const = default;

 private:
  template <class Payload>
  friend class EventQueue;
  EventHandle(std::uint32_t slot, std::uint64_t order) : slot_(slot), order_(order) {}

  std::uint32_t slot_ = std::numeric_limits<std::uint32_t>::max();
  std::uint64_t order_ = 0;
};

/// Events to come, in the total order (time, phase, order of push): the same pushes give the same pops everywhere.
///
/// A ladder of one rung (after Tang, Goh, Thng: "Ladder queue", ACM TOMACS 15(3), 2005). What is due next stands in a
/// small heap; what is due later in buckets of equal width, unsorted until their turn comes; what is due after the last
/// bucket in a list, over which the next buckets are laid once these are used up. A push or pop then costs the same
/// whether the queue holds a thousand events or a million, as long as events spread over time. Where they crowd into
/// one bucket the heap does the work, in O(log n). A queue of few events is the heap alone.
///
/// Cancelled events leave at once; what marks their place goes when its turn comes, or earlier, when such marks
/// outnumber the events.
///
/// Payload: default-constructible, movable.
template <class Payload>
class EventQueue {
 public:
  struct Event {
    SimTime time;
    Phase phase;
    Payload payload;
  };

  /// `time` must not be before the last popped event, nor after 2^61 ticks (26 days).
  EventHandle push(SimTime time, Phase phase, Payload payload) {
    ensure(time >= last_time_, "an event is scheduled before the present");
    ensure(time <= kLatest, "an event is scheduled beyond the range of the clock");
    ensure(next_sequence_ < kFree >> kPhaseBits, "event numbers are used up");
    const std::uint64_t order = static_cast<std::uint64_t>(phase) << (64 - kPhaseBits) | next_sequence_++;
    if (free_slots_.empty()) {
      free_slots_.push_back(static_cast<std::uint32_t>(slots_.size()));
      slots_.emplace_back();
    }
    const std::uint32_t slot = free_slots_.back();
    free_slots_.pop_back();
    slots_[slot].order = order;
    slots_[slot].payload = std::move(payload);
    insert(Mark{time.ticks(), order, slot});
    ++size_;
    return EventHandle(slot, order);
  }

  /// False if the event has been popped or cancelled before.
  bool cancel(EventHandle handle) {
    if (handle.slot_ >= slots_.size() || slots_[handle.slot_].order != handle.order_) {
      return false;
    }
    release(handle.slot_);
    ++dead_;
    if (dead_ > size_ + kSmall) {
      purge();
    }
    return true;
  }

  /// The next event, which leaves the queue.
  std::optional<Event> pop() {
    if (!find_first()) {
      return std::nullopt;
    }
    const Mark mark = near_.front();
    quad_heap::pop(near_);
    last_time_ = SimTime::from_ticks(mark.time);
    Event event{last_time_, static_cast<Phase>(mark.order >> (64 - kPhaseBits)), std::move(slots_[mark.slot].payload)};
    release(mark.slot);
    return event;
  }

  /// When the next event is due.
  std::optional<SimTime> next_time() {
    return find_first() ? std::optional(SimTime::from_ticks(near_.front().time)) : std::nullopt;
  }

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  /// Of the last popped event; zero before.
  [[nodiscard]] SimTime last_time() const { return last_time_; }

 private:
  static constexpr int kPhaseBits = 4;
  static constexpr std::uint64_t kFree = std::numeric_limits<std::uint64_t>::max();
  /// Leaves room for the end of the last bucket.
  static constexpr SimTime kLatest = SimTime::from_ticks(std::int64_t{1} << 61);
  static constexpr std::int64_t kNever = SimTime::never().ticks();
  /// Up to here a heap alone is faster (bench_event_queue).
  static constexpr std::size_t kSmall = 256;
  /// Events a bucket, if they were spread evenly.
  static constexpr std::size_t kPerBucket = 4;

  /// Stands for an event wherever events are moved about. Dead if its slot holds another order.
  struct Mark {
    std::int64_t time;
    std::uint64_t order;  ///< phase, then sequence number of the push
    std::uint32_t slot;

    friend bool operator<(const Mark& a, const Mark& b) {
      return a.time != b.time ? a.time < b.time : a.order < b.order;
    }
  };
  struct Slot {
    std::uint64_t order = kFree;
    Payload payload{};
  };

  void insert(const Mark& mark) {
    if (mark.time < near_end_) {
      quad_heap::push(near_, mark);
      if (bucket_count_ == 0 && near_.size() > kSmall) {
        // No longer few: all become far, to be spread over buckets by the next pop.
        far_.swap(near_);
        near_end_ = last_time_.ticks();
      }
      return;
    }
    const std::uint64_t bucket = static_cast<std::uint64_t>(mark.time - origin_) >> shift_;
    (bucket < bucket_count_ ? buckets_[bucket] : far_).push_back(mark);
  }

  bool alive(const Mark& mark) const { return slots_[mark.slot].order == mark.order; }

  void release(std::uint32_t slot) {
    slots_[slot].order = kFree;
    slots_[slot].payload = Payload{};
    free_slots_.push_back(slot);
    --size_;
  }

  /// Brings the first live event to the top of the heap; false if there is none.
  bool find_first() {
    while (true) {
      while (!near_.empty()) {
        if (alive(near_.front())) {
          return true;
        }
        quad_heap::pop(near_);
        --dead_;
      }
      if (!refill()) {
        return false;
      }
    }
  }

  /// Fills the empty heap from the next bucket in use; false if there is nothing.
  bool refill() {
    if (next_bucket_ == bucket_count_) {
      if (far_.size() <= kSmall) {
        near_.swap(far_);
        near_end_ = kNever;
        next_bucket_ = bucket_count_ = 0;
        quad_heap::make(near_);
        return !near_.empty();
      }
      spread();
    }
    while (next_bucket_ < bucket_count_ && buckets_[next_bucket_].empty()) {
      ++next_bucket_;
    }
    if (next_bucket_ < bucket_count_) {
      near_.swap(buckets_[next_bucket_++]);
      quad_heap::make(near_);
    }
    near_end_ = origin_ + static_cast<std::int64_t>(static_cast<std::uint64_t>(next_bucket_) << shift_);
    return true;
  }

  /// Lays buckets over the far events, their width a power of two.
  void spread() {
    const auto [first, last] =
        std::minmax_element(far_.begin(), far_.end(), [](const Mark& a, const Mark& b) { return a.time < b.time; });
    origin_ = first->time;
    const auto range = static_cast<std::uint64_t>(last->time - origin_);
    shift_ = 0;
    while ((range >> shift_) >= far_.size() / kPerBucket) {
      ++shift_;
    }
    next_bucket_ = 0;
    bucket_count_ = static_cast<std::size_t>(range >> shift_) + 1;
    if (buckets_.size() < bucket_count_) {
      buckets_.resize(bucket_count_);
    }
    for (const Mark& mark : far_) {
      buckets_[static_cast<std::uint64_t>(mark.time - origin_) >> shift_].push_back(mark);
    }
    far_.clear();
  }

  /// Drops every dead mark.
  void purge() {
    const auto is_dead = [&](const Mark& mark) { return !alive(mark); };
    std::erase_if(near_, is_dead);
    quad_heap::make(near_);
    for (std::size_t bucket = next_bucket_; bucket < bucket_count_; ++bucket) {
      std::erase_if(buckets_[bucket], is_dead);
    }
    std::erase_if(far_, is_dead);
    dead_ = 0;
  }

  std::vector<Mark> near_;                  ///< heap of what is due before near_end_
  std::int64_t near_end_ = kNever;          ///< never: the heap holds all
  std::vector<std::vector<Mark>> buckets_;  ///< [b]: due within [origin_ + b·2^shift_, origin_ + (b + 1)·2^shift_)
  std::size_t next_bucket_ = 0;             ///< those before it are empty
  std::size_t bucket_count_ = 0;            ///< in use
  std::int64_t origin_ = 0;
  int shift_ = 0;
  std::vector<Mark> far_;  ///< due after the last bucket

  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_slots_;
  std::size_t size_ = 0;
  std::size_t dead_ = 0;  ///< marks of cancelled events
  std::uint64_t next_sequence_ = 0;
  SimTime last_time_;
};

}  // namespace moesim
