moesim_test(test_fluid_properties
  LIBRARIES moesim_fluid
  SOURCES property/fluid/sharing_test.cpp property/fluid/rounding_test.cpp property/fluid/events_test.cpp
    oracle/fluid/scenario.cpp oracle/fluid/water_filling.cpp)
