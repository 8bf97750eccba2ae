#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

/// A binary heap has the children of i at 2i + 1 and 2i + 2; this one has four children at 4i + 1 .. 4i + 4, which lie
/// side by side in memory: half the levels, and fewer lines of cache touched. The least element is in front.
namespace moesim::quad_heap {

template <class T>
void push(std::vector<T>& heap, const T& item) {
  std::size_t hole = heap.size();
  heap.push_back(item);
  while (hole > 0) {
    const std::size_t parent = (hole - 1) / 4;
    if (!(item < heap[parent])) {
      break;
    }
    heap[hole] = heap[parent];
    hole = parent;
  }
  heap[hole] = item;
}

/// Puts `item` where `hole` is, or below it.
template <class T>
void sift_down(std::vector<T>& heap, std::size_t hole, const T item) {
  const std::size_t size = heap.size();
  while (4 * hole + 1 < size) {
    const std::size_t first = 4 * hole + 1;
    std::size_t least = first;
    for (std::size_t child = first + 1; child < std::min(first + 4, size); ++child) {
      if (heap[child] < heap[least]) {
        least = child;
      }
    }
    if (!(heap[least] < item)) {
      break;
    }
    heap[hole] = heap[least];
    hole = least;
  }
  heap[hole] = item;
}

template <class T>
void pop(std::vector<T>& heap) {
  const T last = heap.back();
  heap.pop_back();
  if (!heap.empty()) {
    sift_down(heap, 0, last);
  }
}

template <class T>
void make(std::vector<T>& heap) {
  for (std::size_t i = (heap.size() + 2) / 4; i-- > 0;) {
    sift_down(heap, i, heap[i]);
  }
}

}  // namespace moesim::quad_heap
