moesim_test(test_program LIBRARIES moesim_program SOURCES unit/program/traffic_test.cpp)
