#include "sim/core/task_pool.hpp"

#include <oneapi/tbb/info.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>

#include <algorithm>
#include <exception>
#include <vector>

#include "sim/core/error.hpp"

namespace moesim {

struct TaskPool::Arena {
  // More threads than the machine has would gain nothing, and make TBB print a warning.
  explicit Arena(std::size_t threads)
      : arena(std::min(static_cast<int>(threads), oneapi::tbb::info::default_concurrency())) {}
  oneapi::tbb::task_arena arena;
};

TaskPool::TaskPool(std::size_t threads) {
  ensure(threads >= 1, "a task pool needs a thread");
  if (threads > 1) {
    arena_ = std::make_unique<Arena>(threads);
  }
}

TaskPool::~TaskPool() = default;

void TaskPool::for_each_index(std::size_t count, const std::function<void(std::size_t)>& task) const {
  if (!arena_) {
    for (std::size_t i = 0; i < count; ++i) {
      task(i);
    }
    return;
  }
  std::vector<std::exception_ptr> failures(count);
  arena_->arena.execute([&] {
    oneapi::tbb::parallel_for(std::size_t{0}, count, [&](std::size_t i) {
      try {
        task(i);
      } catch (...) {
        failures[i] = std::current_exception();
      }
    });
  });
  for (const auto& failure : failures) {
    if (failure) {
      std::rethrow_exception(failure);
    }
  }
}

}  // namespace moesim
