moesim_test(test_cases
  LIBRARIES moesim_cases
  SOURCES unit/cases/published_test.cpp unit/cases/serving_test.cpp)
