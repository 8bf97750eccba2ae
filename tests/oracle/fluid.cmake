moesim_test(test_fluid_oracle
  LIBRARIES moesim_fluid
  SOURCES oracle/fluid/scenario.cpp oracle/fluid/water_filling.cpp oracle/fluid/water_filling_test.cpp
          oracle/fluid/simgrid/network_case.cpp)

# Against SimGrid, where it is installed.
find_path(MOESIM_SIMGRID_S4U_INCLUDE simgrid/s4u.hpp)
find_library(MOESIM_SIMGRID simgrid)
mark_as_advanced(MOESIM_SIMGRID_S4U_INCLUDE MOESIM_SIMGRID)
if(MOESIM_SIMGRID_S4U_INCLUDE AND MOESIM_SIMGRID)
  add_library(moesim_simgrid_oracle STATIC oracle/fluid/simgrid/network_case.cpp oracle/fluid/simgrid/simgrid_run.cpp)
  target_include_directories(moesim_simgrid_oracle SYSTEM PRIVATE ${MOESIM_SIMGRID_S4U_INCLUDE})
  target_link_libraries(moesim_simgrid_oracle PUBLIC moesim_fluid PRIVATE ${MOESIM_SIMGRID})
  moesim_test(test_fluid_simgrid LIBRARIES moesim_simgrid_oracle SOURCES oracle/fluid/simgrid/simgrid_test.cpp)
else()
  add_test(NAME "test_fluid_simgrid: skipped" COMMAND ${CMAKE_COMMAND} -E echo "SKIP: SimGrid (libsimgrid-dev) was not found")
  set_tests_properties("test_fluid_simgrid: skipped" PROPERTIES SKIP_REGULAR_EXPRESSION "^SKIP")
endif()
