moesim_test(test_measured
  LIBRARIES moesim_communication_fit
  SOURCES oracle/measured/communication_test.cpp)
