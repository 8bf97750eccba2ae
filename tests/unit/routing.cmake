moesim_test(test_routing
  LIBRARIES moesim_routing
  SOURCES
    unit/routing/counts_test.cpp
    unit/routing/fit_loads_test.cpp
    unit/routing/fit_test.cpp
    unit/routing/formats_test.cpp
    unit/routing/generator_test.cpp
    unit/routing/id_scan_test.cpp
    unit/routing/inclusion_test.cpp
    unit/routing/npy_test.cpp
    unit/routing/routing_config_test.cpp
    unit/routing/sources_test.cpp
    unit/routing/statistics_test.cpp
    unit/routing/token_trace_test.cpp)

# The converter of torch.save files; skips itself where Debian's python3-torch is not installed.
find_program(MOESIM_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH)
if(MOESIM_PYTHON)
  add_test(NAME "test_routing: sglang_to_npz.py"
    COMMAND ${MOESIM_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/unit/routing/sglang_to_npz_test.py ${PROJECT_SOURCE_DIR})
  set_tests_properties("test_routing: sglang_to_npz.py" PROPERTIES SKIP_RETURN_CODE 77)
endif()
mark_as_advanced(MOESIM_PYTHON)
