moesim_test(test_config
  LIBRARIES moesim_config
  SOURCES
    unit/config/catalogue_test.cpp
    unit/config/codec_test.cpp
    unit/config/cursor_test.cpp
    unit/config/describe_test.cpp
    unit/config/document_test.cpp
    unit/config/set_test.cpp)

# Schema against decoder. A program of its own, as it links every folder that describes a kind of file: a new kind
# is one more case in schema_agreement_test.cpp, and its library here.
moesim_test(test_schema_agreement
  LIBRARIES moesim_planning moesim_scenario moesim_topologies moesim_routing moesim_kernels moesim_architecture moesim_hardware
  SOURCES unit/config/schema_agreement_test.cpp)
