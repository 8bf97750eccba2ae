moesim_bench(bench_fluid LIBRARIES moesim_fluid SOURCES fluid_bench.cpp)
