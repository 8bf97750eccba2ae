moesim_test(test_training
  LIBRARIES moesim_training
  SOURCES unit/training/layout_test.cpp unit/training/pipeline_test.cpp unit/training/schedule_test.cpp unit/training/step_ends_test.cpp
    unit/training/types_test.cpp)
