moesim_test(test_hardware
  LIBRARIES moesim_hardware
  SOURCES unit/models/hardware_test.cpp)
moesim_test(test_architecture
  LIBRARIES moesim_architecture
  SOURCES
    unit/models/catalogue_test.cpp
    unit/models/huggingface_test.cpp
    unit/models/model_test.cpp
    unit/models/parameters_test.cpp
    unit/models/quantization_test.cpp)
