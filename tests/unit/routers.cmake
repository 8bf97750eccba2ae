moesim_test(test_routers
  LIBRARIES moesim_routing
  SOURCES
    unit/routers/assignment_test.cpp
    unit/routers/capacity_test.cpp
    unit/routers/invariants_test.cpp
    unit/routers/literal_test.cpp
    unit/routers/losses_test.cpp
    unit/routers/reference_test.cpp
    unit/routers/router_source_test.cpp
    unit/routers/select_test.cpp
    unit/routers/token_model_test.cpp
    unit/routers/training_test.cpp)
