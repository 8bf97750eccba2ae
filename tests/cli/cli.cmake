moesim_test(test_cli
  LIBRARIES moesim_core nlohmann_json::nlohmann_json
  SOURCES cli/bad_input_test.cpp cli/collective_test.cpp cli/kernels_test.cpp cli/network_test.cpp
    cli/options_test.cpp cli/place_test.cpp cli/program.cpp cli/router_test.cpp cli/speculative_test.cpp
    cli/sweep_test.cpp cli/trace_test.cpp cli/train_test.cpp
    cli/validate_test.cpp)
target_compile_definitions(test_cli PRIVATE MOESIM_PROGRAM="$<TARGET_FILE:moesim>")
add_dependencies(test_cli moesim)
