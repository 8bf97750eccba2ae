moesim_test(test_training
  LIBRARIES moesim_training
  SOURCES unit/training/pipeline_test.cpp unit/training/schedule_test.cpp)
