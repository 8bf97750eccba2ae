moesim_test(test_routing
  LIBRARIES moesim_routing
  SOURCES
    unit/routing/counts_test.cpp
    unit/routing/generator_test.cpp
    unit/routing/inclusion_test.cpp
    unit/routing/npy_test.cpp
    unit/routing/routing_config_test.cpp
    unit/routing/sources_test.cpp
    unit/routing/token_trace_test.cpp)
