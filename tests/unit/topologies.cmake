moesim_test(test_topologies
  LIBRARIES moesim_topologies
  SOURCES
    unit/topologies/catalogue_test.cpp
    unit/topologies/config_test.cpp
    unit/topologies/fabric_test.cpp
    unit/topologies/fault_test.cpp
    unit/topologies/graph_test.cpp
    unit/topologies/orbits_test.cpp
    unit/topologies/route_test.cpp
    unit/topologies/router_test.cpp)
