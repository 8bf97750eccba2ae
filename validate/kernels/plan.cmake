# The part of moesim-bench that needs no CUDA, for the program and for its tests.
set(bench_folder ${CMAKE_CURRENT_LIST_DIR})
add_library(moesim_bench_plan STATIC
  ${bench_folder}/json_writer.cpp ${bench_folder}/options.cpp ${bench_folder}/plan.cpp ${bench_folder}/record.cpp
  ${bench_folder}/reference.cpp ${bench_folder}/routing_file.cpp ${bench_folder}/shapes.cpp
  ${bench_folder}/statistics.cpp)
target_link_libraries(moesim_bench_plan PUBLIC moesim_flags)
if(TARGET moesim_core)
  target_link_libraries(moesim_bench_plan PUBLIC moesim_fit)
else()
  # Those sources of the simulator that need nothing but the standard library.
  target_sources(moesim_bench_plan PRIVATE
    ${bench_folder}/../../sim/core/error.cpp ${bench_folder}/../../sim/core/random.cpp
    ${bench_folder}/../fit/expert_rows.cpp)
endif()
