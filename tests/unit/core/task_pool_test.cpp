#include "sim/core/task_pool.hpp"

#include <atomic>
#include <catch2/catch.hpp>
#include <stdexcept>
#include <vector>

#include "sim/core/error.hpp"
#include "sim/core/random.hpp"

using namespace moesim;

TEST_CASE("every index is run once, on any number of threads") {
  for (const std::size_t threads : {1U, 2U, 4U}) {
    const TaskPool pool(threads);
    for (const std::size_t count : {0U, 1U, 2U, 1000U}) {
      std::vector<std::atomic<int>> runs(count);
      pool.for_each_index(count, [&](std::size_t i) { ++runs[i]; });
      for (const auto& n : runs) {
        REQUIRE(n == 1);
      }
    }
  }
}

TEST_CASE("one thread runs the tasks in order") {
  std::vector<std::size_t> order;
  TaskPool(1).for_each_index(5, [&](std::size_t i) { order.push_back(i); });
  CHECK(order == std::vector<std::size_t>{0, 1, 2, 3, 4});
}

TEST_CASE("the exception of the lowest index is the one thrown") {
  for (const std::size_t threads : {1U, 2U, 4U}) {
    const TaskPool pool(threads);
    CHECK_THROWS_WITH(pool.for_each_index(500,
                                          [](std::size_t i) {
                                            if (i >= 137 && i % 2 == 1) {
                                              throw std::runtime_error("task " + std::to_string(i));
                                            }
                                          }),
                      "task 137");
    // The pool is good for more afterwards.
    std::atomic<int> runs = 0;
    pool.for_each_index(10, [&](std::size_t) { ++runs; });
    CHECK(runs == 10);
  }
}

TEST_CASE("one thread and several give the same numbers") {
  const auto sums = [](std::size_t threads) {
    std::vector<double> result(200);
    TaskPool(threads).for_each_index(result.size(), [&](std::size_t i) {
      RandomStream random(9, "task", i);
      for (int n = 0; n < 100; ++n) {
        result[i] += random.normal();
      }
    });
    return result;
  };
  const auto one = sums(1);
  CHECK(sums(2) == one);
  CHECK(sums(5) == one);
}

TEST_CASE("a pool may be used from within a task of itself") {
  const TaskPool pool(2);
  std::atomic<int> runs = 0;
  pool.for_each_index(4, [&](std::size_t) { pool.for_each_index(4, [&](std::size_t) { ++runs; }); });
  CHECK(runs == 16);
}

TEST_CASE("a pool without a thread is a fault of ours") { CHECK_THROWS_AS(TaskPool(0), InternalError); }
