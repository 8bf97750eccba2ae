moesim_test(test_fit
  LIBRARIES moesim_fit
  SOURCES unit/fit/boosting_test.cpp unit/fit/calibrate_test.cpp unit/fit/contention_fit_test.cpp unit/fit/curve_fit_test.cpp
    unit/fit/expert_rows_test.cpp unit/fit/measurements_test.cpp
    unit/fit/surface_fit_test.cpp)
moesim_test(test_communication_fit
  LIBRARIES moesim_communication_fit
  SOURCES unit/fit/communication_test.cpp)
