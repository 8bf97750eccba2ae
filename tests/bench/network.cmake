moesim_bench(bench_network LIBRARIES moesim_execute SOURCES network_bench.cpp)

find_path(MOESIM_SIMGRID_S4U_INCLUDE simgrid/s4u.hpp)
find_library(MOESIM_SIMGRID simgrid)
mark_as_advanced(MOESIM_SIMGRID_S4U_INCLUDE MOESIM_SIMGRID)
if(MOESIM_SIMGRID_S4U_INCLUDE AND MOESIM_SIMGRID)
  set(simgrid_oracle ${PROJECT_SOURCE_DIR}/tests/oracle/fluid/simgrid)
  target_sources(bench_network PRIVATE
      network_simgrid_bench.cpp ${simgrid_oracle}/network_case.cpp ${simgrid_oracle}/simgrid_run.cpp)
  target_include_directories(bench_network SYSTEM PRIVATE ${MOESIM_SIMGRID_S4U_INCLUDE})
  target_link_libraries(bench_network PRIVATE ${MOESIM_SIMGRID})
endif()
