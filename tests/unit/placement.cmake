moesim_test(test_placement LIBRARIES moesim_placement
  SOURCES unit/placement/bound_test.cpp unit/placement/eplb_test.cpp unit/placement/expert_map_test.cpp
    unit/placement/integer_program_test.cpp
    unit/placement/placement_test.cpp unit/placement/relabel_test.cpp unit/placement/replica_choice_test.cpp)
