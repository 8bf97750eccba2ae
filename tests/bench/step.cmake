moesim_bench(bench_step LIBRARIES moesim_scenario SOURCES step_bench.cpp)
