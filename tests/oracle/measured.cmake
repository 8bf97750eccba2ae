moesim_test(test_measured LIBRARIES moesim_report SOURCES oracle/measured/communication_test.cpp)
