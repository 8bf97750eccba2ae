moesim_bench(bench_trace LIBRARIES moesim_routing SOURCES trace_bench.cpp)
