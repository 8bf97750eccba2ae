moesim_test(test_step
  LIBRARIES moesim_report
  SOURCES property/step/ratio_test.cpp property/step/recorded_test.cpp property/step/in_place_test.cpp
          property/step/micro_batch_test.cpp property/step/speculative_test.cpp property/step/training_test.cpp)
