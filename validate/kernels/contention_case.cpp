#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>

#include "validate/kernels/tensors.hpp"

/// What a kernel takes longer for when another holds some of the SMs, or holds them and streams through the HBM, as
/// communication kernels do beside compute.
namespace moesim::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Rival = ContentionCase::Rival;
using Work = ContentionCase::Work;

constexpr unsigned long long kLimitNs = 8'000'000'000ULL;  // a rival ends by itself after that

/// A holder of SMs on a stream of its own, from start to stop.
class RunningRival {
 public:
  RunningRival(const ContentionCase& c, const Tensor<std::uint8_t>& scratch) : blocks_(c.multiprocessors) {
    void* shared = nullptr;
    void* on_device = nullptr;
    check(cudaHostAlloc(&shared, sizeof(HoldState), cudaHostAllocMapped), "memory that host and device share");
    check(cudaHostGetDevicePointer(&on_device, shared, 0), "memory that host and device share");
    std::memset(shared, 0, sizeof(HoldState));
    state_ = static_cast<HoldState*>(shared);
    const bool streams = c.rival == Rival::kStream;
    launch_hold(streams ? Holder::kStream : Holder::kSpin, blocks_, static_cast<HoldState*>(on_device),
                streams ? scratch.at(0) : nullptr, scratch.count() / static_cast<std::size_t>(blocks_) / 64 * 64,
                kLimitNs, stream_.get());
    const auto limit = Clock::now() + std::chrono::seconds(2);
    while (started() < blocks_) {
      if (Clock::now() > limit) {
        stop();
        throw Unsupported("the rival's blocks did not all start within two seconds");
      }
      std::this_thread::yield();
    }
  }
  RunningRival(const RunningRival&) = delete;
  RunningRival& operator=(const RunningRival&) = delete;
  ~RunningRival() {
    try {
      stop();
    } catch (const DeviceError&) {  // already on the way out with another; the memory stays, a kernel may write to it
      return;
    }
    static_cast<void>(cudaFreeHost(state_));
  }
  void stop() {
    static_cast<volatile HoldState*>(state_)->stop = 1;
    stream_.wait();
  }
  /// Bytes per second that it moved, once stopped.
  [[nodiscard]] double bandwidth() const {
    double sum = 0.0;
    for (int i = 0; i < blocks_; ++i) {
      const HoldState::Block& block = state_->blocks[i];
      if (block.nanoseconds > 0) {
        sum += static_cast<double>(block.bytes) / (static_cast<double>(block.nanoseconds) * 1e-9);
      }
    }
    return sum;
  }
  /// Whether it held out as long as the work took.
  [[nodiscard]] bool ended_early() const {
    return std::any_of(state_->blocks, state_->blocks + blocks_,
                       [](const HoldState::Block& block) { return block.nanoseconds >= kLimitNs; });
  }

 private:
  [[nodiscard]] int started() const {
    const volatile HoldState* const state = state_;
    int count = 0;
    for (int i = 0; i < blocks_; ++i) {
      count += state->blocks[i].started != 0 ? 1 : 0;
    }
    return count;
  }

  int blocks_;
  HoldState* state_ = nullptr;
  Stream stream_{Stream::Priority::kHigh};
};

Shape shape_of(Work work) {
  const LayerShape& deepseek = find_layer("deepseek-v3");
  switch (work) {
    case Work::kGemm:
      return GemmCase{NumberType::kBf16, 4096, 7168, 4096};
    case Work::kDecodeExperts:
      return ExpertsCase{.layer = deepseek, .tokens = 256, .expert_parallel = 8};
    case Work::kPrefillExperts:
      return ExpertsCase{.layer = deepseek, .tokens = 16384, .expert_parallel = 8};
    case Work::kDecodeAttention:
      return DecodeCase{128, 4096, 64, 8, 128};
  }
  throw Unsupported("unknown work");
}

std::unique_ptr<Prepared> prepare_work(const Shape& shape, Bench& bench) {
  if (const auto* const gemm = std::get_if<GemmCase>(&shape)) {
    return prepare(*gemm, bench);
  }
  if (const auto* const experts = std::get_if<ExpertsCase>(&shape)) {
    return prepare(*experts, bench);
  }
  return prepare(std::get<DecodeCase>(shape), bench);
}

}  // namespace

Outcome measure_contention(const ContentionCase& c, const StopRule& rule, Bench& bench, Json& extra) {
  const int left = bench.facts.multiprocessors - c.multiprocessors;
  if (left < 8) {
    throw Unsupported("the rival would leave fewer than eight SMs");
  }
  const Shape shape = shape_of(c.work);
  // Time alone on the whole GPU, and alone in the space that the rival leaves: what remains is contention proper.
  Bench whole = bench;
  whole.multiprocessors = 0;
  Bench rest = bench;
  rest.multiprocessors = left;
  Outcome out;
  Timing alone;
  {
    const std::unique_ptr<Prepared> prepared = prepare_work(shape, whole);
    out.verdict = check_once(*prepared, bench.stream.get());
    if (!out.verdict.right()) {
      return out;
    }
    alone = measure(*prepared, rule, bench.stream.get(), Path::kStream);
  }
  const std::unique_ptr<Prepared> prepared = prepare_work(shape, rest);
  out.verdict = check_once(*prepared, bench.stream.get());
  if (!out.verdict.right()) {
    return out;
  }
  const Timing limited = measure(*prepared, rule, bench.stream.get(), Path::kStream);
  constexpr std::size_t kScratch = std::size_t{2} << 30;
  const Tensor<std::uint8_t> scratch(1, c.rival == Rival::kStream ? kScratch : 64);
  check(cudaMemset(scratch.at(0), 1, scratch.count()), "rival's memory");
  check(cudaDeviceSynchronize(), "rival's memory");
  double rival_alone = 0.0;
  if (c.rival == Rival::kStream) {
    RunningRival rival(c, scratch);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    rival.stop();
    rival_alone = rival.bandwidth();
  }
  prepared->poison(bench.stream.get());
  bench.stream.wait();
  RunningRival rival(c, scratch);
  // No graphs, here nor above: making and freeing one may wait for all that runs, and the rival would be waited for.
  // The works are long enough for launches to keep ahead.
  out.timing = measure(*prepared, rule, bench.stream.get(), Path::kStream);
  rival.stop();
  if (rival.ended_early()) {
    throw Unsupported("the rival's time was up before the work was done");
  }
  out.verdict = prepared->verdict(0);
  extra.set("alone", latency_text(alone.seconds.median))
      .set("alone_on_the_rest", latency_text(limited.seconds.median))
      .set("work_gbps_alone", needs_of(shape).bytes / alone.seconds.median * 1e-9)
      .set("slowdown", out.timing.seconds.median / alone.seconds.median)
      .set("slowdown_on_the_rest", out.timing.seconds.median / limited.seconds.median);
  if (c.rival == Rival::kStream) {
    extra.set("rival_gbps_alone", rival_alone * 1e-9).set("rival_gbps", rival.bandwidth() * 1e-9);
  }
  return out;
}

}  // namespace moesim::bench
