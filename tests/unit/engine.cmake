moesim_test(test_engine LIBRARIES moesim_engine SOURCES unit/engine/event_queue_test.cpp)
