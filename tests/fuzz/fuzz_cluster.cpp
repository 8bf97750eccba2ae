// A cluster's file.
#include "tests/fuzz/describe_harness.hpp"
#include "topologies/cluster_config.hpp"

using namespace moesim;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::may_refuse([&] { fuzz::decode_and_back<ClusterConfig>(fuzz::text_of(data, size)); });
  return 0;
}
