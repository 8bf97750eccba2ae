moesim_test(test_cases
  LIBRARIES moesim_cases
  SOURCES unit/cases/serving_test.cpp)
