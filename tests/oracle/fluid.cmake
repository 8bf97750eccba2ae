moesim_test(test_fluid_oracle
  LIBRARIES moesim_fluid
  SOURCES oracle/fluid/scenario.cpp oracle/fluid/water_filling.cpp oracle/fluid/water_filling_test.cpp)
