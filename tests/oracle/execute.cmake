moesim_test(test_execute
  LIBRARIES moesim_report
  SOURCES oracle/execute/all_to_all_test.cpp oracle/execute/bound_test.cpp oracle/execute/collective_test.cpp oracle/execute/eight_gpu_test.cpp
          oracle/execute/exchange_plan_test.cpp oracle/execute/kernel_time_test.cpp oracle/execute/micro_batch_test.cpp
          oracle/execute/step_test.cpp oracle/execute/torus_test.cpp oracle/execute/two_gpu_test.cpp)
