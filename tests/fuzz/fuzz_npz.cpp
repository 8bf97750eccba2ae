// An archive of arrays, read as each of the recordings that it may be.
#include <algorithm>

#include "tests/fuzz/harness.hpp"
#include "workloads/routing/formats/readers.hpp"

using namespace moesim;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::may_refuse([&] {
    const NpzArchive archive = NpzArchive::from_bytes(fuzz::bytes_of(data, size), "input.npz");
    // What unpacks to far more than there is would only test the disk.
    constexpr std::size_t kMost = std::size_t{1} << 24;
    std::size_t total = 0;
    for (const NpzMember& member : archive.members()) {
      total += std::min(member.bytes(), kMost);
    }
    if (total >= kMost) {
      return;
    }
    fuzz::may_refuse([&] {
      const Recording recording = read_choices_npz(archive, {});
      const RoutingShape shape = recording.tokens()->shape();
      fuzz::require(shape.tokens > 0 && shape.layers > 0 && shape.k > 0 && shape.experts >= 1, "a shape");
    });
    fuzz::may_refuse([&] {
      const CountTrace counts = counts_of(read_sglang_stat(archive));
      fuzz::require(counts.counts.size() == counts.layers * counts.experts, "a count for each");
    });
    fuzz::may_refuse([&] {
      const CountTrace counts = counts_of(read_sglang_per_pass(archive));
      fuzz::require(counts.steps >= 1, "steps");
    });
    fuzz::may_refuse([&] { static_cast<void>(read_sglang_per_token(archive, {})); });
  });
  return 0;
}
