moesim_test(test_core
  LIBRARIES moesim_core
  SOURCES
    unit/core/distribution_test.cpp
    unit/core/error_test.cpp
    unit/core/file_test.cpp
    unit/core/quantity_test.cpp
    unit/core/random_test.cpp
    unit/core/suggest_test.cpp
    unit/core/task_pool_test.cpp
    unit/core/time_test.cpp
    unit/core/units_test.cpp)
