moesim_test(test_fluid_properties
  LIBRARIES moesim_fluid
  SOURCES property/fluid/sharing_test.cpp property/fluid/rounding_test.cpp property/fluid/events_test.cpp
    property/fluid/episodes_test.cpp property/fluid/known_flows_test.cpp property/fluid/windows_test.cpp oracle/fluid/simgrid/network_case.cpp oracle/fluid/scenario.cpp oracle/fluid/water_filling.cpp)
