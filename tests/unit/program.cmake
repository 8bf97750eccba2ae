moesim_test(test_program
  LIBRARIES moesim_program
  SOURCES unit/program/kernel_index_test.cpp unit/program/micro_batch_test.cpp unit/program/mixer_test.cpp unit/program/traffic_test.cpp unit/program/training_pass_test.cpp)
