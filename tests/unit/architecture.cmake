moesim_test(test_hardware
  LIBRARIES moesim_hardware
  SOURCES unit/models/hardware_test.cpp)
