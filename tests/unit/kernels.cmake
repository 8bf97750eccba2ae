moesim_test(test_kernels
  LIBRARIES moesim_kernels
  SOURCES unit/models_kernels/backward_test.cpp unit/models_kernels/communication_test.cpp unit/models_kernels/curves_test.cpp
          unit/models_kernels/demand_test.cpp
          unit/models_kernels/profile_test.cpp unit/models_kernels/roofline_test.cpp
          unit/models_kernels/surface_test.cpp)
