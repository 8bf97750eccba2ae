moesim_test(test_placement LIBRARIES moesim_placement SOURCES unit/placement/placement_test.cpp)
