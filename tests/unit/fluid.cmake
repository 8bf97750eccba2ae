moesim_test(test_fluid
  LIBRARIES moesim_fluid
  SOURCES unit/fluid/solver_test.cpp unit/fluid/clock_test.cpp unit/fluid/kernels_test.cpp unit/fluid/spec_test.cpp
    unit/fluid/tag_queue_test.cpp)
