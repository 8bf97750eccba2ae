if(NOT TARGET moesim_bench_plan)
  include(${PROJECT_SOURCE_DIR}/validate/kernels/plan.cmake)
endif()
moesim_test(test_validate_kernels
  LIBRARIES moesim_bench_plan moesim_fit
  SOURCES unit/validate_kernels/plan_test.cpp unit/validate_kernels/record_test.cpp
    unit/validate_kernels/reference_test.cpp unit/validate_kernels/routing_file_test.cpp
    unit/validate_kernels/values_test.cpp)
if(NOT MOESIM_SANITIZE)
  # Switches between the stacks of a GPU's threads, which the sanitizers do not follow.
  moesim_test(test_device_kernels SLOW
    LIBRARIES moesim_bench_plan
    SOURCES unit/validate_kernels/device_kernels_test.cpp)
  target_compile_options(test_device_kernels PRIVATE -Wno-unknown-pragmas)
endif()
if(TARGET moesim-bench)
  moesim_test(test_measured_cases SLOW
    LIBRARIES moesim_bench_plan
    SOURCES unit/validate_kernels/cases_test.cpp $<TARGET_OBJECTS:moesim_bench_cases>)
  target_compile_options(test_measured_cases PRIVATE -Wno-unknown-pragmas)
  target_include_directories(test_measured_cases SYSTEM PRIVATE
      $<TARGET_PROPERTY:moesim_bench_cases,INTERFACE_SYSTEM_INCLUDE_DIRECTORIES>)
  # Without a GPU, or with one that is hidden: the plan is shown, and measuring ends with code 2 and the reason.
  set(refused "test $? = 2")
  add_test(NAME "moesim-bench lists its cases" COMMAND moesim-bench --list)
  set_tests_properties("moesim-bench lists its cases" PROPERTIES PASS_REGULAR_EXPRESSION "experts/deepseek-v3/")
  add_test(NAME "moesim-bench says what it would run" COMMAND moesim-bench --dry-run --budget 60)
  set_tests_properties("moesim-bench says what it would run" PROPERTIES
    PASS_REGULAR_EXPRESSION "cases within 60 s" ENVIRONMENT "CUDA_VISIBLE_DEVICES=")
  add_test(NAME "moesim-bench without a GPU" COMMAND sh -c "'$<TARGET_FILE:moesim-bench>' --only hbm; ${refused}")
  set_tests_properties("moesim-bench without a GPU" PROPERTIES
    ENVIRONMENT "CUDA_VISIBLE_DEVICES=")
  add_test(NAME "moesim-bench refuses an unknown pattern"
    COMMAND sh -c "'$<TARGET_FILE:moesim-bench>' --only hbm --only nothing-of-this-name; ${refused}")
endif()
