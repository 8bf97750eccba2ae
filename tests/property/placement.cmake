moesim_test(test_place
  LIBRARIES moesim_planning
  SOURCES property/placement/comparison_test.cpp property/placement/rebalancing_test.cpp
    property/placement/recorded_test.cpp property/planning/sweep_test.cpp)
