#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace moesim {

/// Runs independent tasks on a fixed number of threads (oneTBB). Results must not depend on the order of tasks: each
/// writes to its own index only, and is combined in index order afterwards, so that any number of threads gives the
/// same bytes.
class TaskPool {
 public:
  /// `threads` ≥ 1; 1 runs everything on the caller's thread, in order.
  explicit TaskPool(std::size_t threads);
  ~TaskPool();
  TaskPool(const TaskPool&) = delete;
  TaskPool& operator=(const TaskPool&) = delete;

  /// Calls task(0) .. task(count−1), returns when all are done. If tasks throw, the exception of the lowest index
  /// that threw is rethrown.
  void for_each_index(std::size_t count, const std::function<void(std::size_t)>& task) const;

 private:
  struct Arena;
  std::unique_ptr<Arena> arena_;
};

}  // namespace moesim
