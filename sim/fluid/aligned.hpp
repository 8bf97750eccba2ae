#pragma once

#include <cstddef>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace moesim::fluid {

/// Cache lines, and what the widest vectors load at once.
inline constexpr std::size_t kAlignment = 64;

template <class T>
struct AlignedAllocator {
  using value_type = T;  // NOLINT(readability-identifier-naming): the standard's name
  AlignedAllocator() = default;
  template <class U>
  explicit AlignedAllocator(const AlignedAllocator<U>& /*other*/) {}
  T* allocate(std::size_t count) {
    const std::size_t size = count * sizeof(T);
    void* const memory = ::operator new(size, std::align_val_t(alignment(size)));
#if defined(__linux__)
    if (alignment(size) == kHugePage) {
      // What is looked up here and there finds its way through fewer tables. Only a hint: no harm if it fails.
      static_cast<void>(madvise(memory, size, MADV_HUGEPAGE));
    }
#endif
    return static_cast<T*>(memory);
  }
  void deallocate(T* pointer, std::size_t count) {
    ::operator delete(pointer, std::align_val_t(alignment(count * sizeof(T))));
  }
  bool operator==(const AlignedAllocator&) const = default;

 private:
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;
  static constexpr std::size_t alignment(std::size_t size) { return size >= 2 * kHugePage ? kHugePage : kAlignment; }
};

template <class T>
using AlignedVector = std::vector<T, AlignedAllocator<T>>;

}  // namespace moesim::fluid
