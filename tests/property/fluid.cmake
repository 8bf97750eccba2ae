moesim_test(test_fluid_properties
  LIBRARIES moesim_fluid
  SOURCES property/fluid/sharing_test.cpp property/fluid/rounding_test.cpp oracle/fluid/scenario.cpp)
