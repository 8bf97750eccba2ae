moesim_test(test_memory
  LIBRARIES moesim_memory
  SOURCES unit/memory/capacity_test.cpp unit/memory/fit_test.cpp unit/memory/footprint_test.cpp unit/memory/training_test.cpp)
