#include <nccl.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "validate/kernels/harness.hpp"
#include "validate/kernels/tensors.hpp"

/// Collectives of NCCL among the GPUs of this machine, one process for all, as nccl-tests runs them with -g: sizes are
/// what it calls size, times are of the out-of-place operation on device 0.
namespace moesim::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Op = CollectiveCase::Op;

void check_nccl(ncclResult_t status, const char* what) {
  if (status != ncclSuccess) {
    throw DeviceError(std::string(what) + ": " + ncclGetErrorString(status));
  }
}

class OnDevice {
 public:
  explicit OnDevice(int device) { check(cudaSetDevice(device), "device"); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  ~OnDevice() { static_cast<void>(cudaSetDevice(0)); }
};

/// Element i of what rank r sends: whole numbers, so that sums are exact.
float sent(int rank, std::size_t i) { return static_cast<float>(rank + 1) + static_cast<float>(i % 7); }

struct Rank {
  ncclComm_t communicator = nullptr;
  std::unique_ptr<Stream> stream;
  Tensor<float> in;
  Tensor<float> out;
};

class Ranks {
 public:
  explicit Ranks(const CollectiveCase& c);
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;
  ~Ranks() {
    for (int r = 0; r < static_cast<int>(ranks_.size()); ++r) {
      const OnDevice device(r);
      Rank& rank = ranks_[static_cast<std::size_t>(r)];
      if (rank.communicator != nullptr) {
        static_cast<void>(ncclCommDestroy(rank.communicator));
      }
      rank = Rank{};
    }
  }
  void launch();
  void wait() const {
    for (const Rank& rank : ranks_) {
      rank.stream->wait();
    }
  }
  /// Throws DeviceError where an element is not what it must be.
  void verify();
  [[nodiscard]] cudaStream_t first_stream() const { return ranks_.front().stream->get(); }

 private:
  [[nodiscard]] std::size_t each() const { return count_ / ranks_.size(); }
  [[nodiscard]] float expected(int rank, std::size_t i) const;

  CollectiveCase c_;
  std::size_t count_;  ///< elements of the whole
  std::vector<Rank> ranks_;
};

Ranks::Ranks(const CollectiveCase& c)
    : c_(c), count_(static_cast<std::size_t>(c.bytes) / sizeof(float)), ranks_(static_cast<std::size_t>(c.gpus)) {
  const auto gpus = static_cast<std::size_t>(c.gpus);
  if (count_ % gpus != 0 || count_ == 0) {
    throw Unsupported("a size that the GPUs do not share evenly");
  }
  std::vector<ncclComm_t> communicators(gpus);
  std::vector<int> devices(gpus);
  std::iota(devices.begin(), devices.end(), 0);
  check_nccl(ncclCommInitAll(communicators.data(), c.gpus, devices.data()), "communicators");
  for (int r = 0; r < c.gpus; ++r) {
    const OnDevice device(r);
    Rank& rank = ranks_[static_cast<std::size_t>(r)];
    rank.communicator = communicators[static_cast<std::size_t>(r)];
    rank.stream = std::make_unique<Stream>();
    rank.in = Tensor<float>(1, c.op == Op::kAllGather ? each() : count_);
    rank.out = Tensor<float>(1, c.op == Op::kReduceScatter ? each() : count_);
    std::vector<float> values(rank.in.count());
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = sent(r, i);
    }
    copy_to_device(rank.in.at(0), values.data(), values.size() * sizeof(float));
    rank.out.poison(rank.stream->get());
  }
  wait();
}

void Ranks::launch() {
  check_nccl(ncclGroupStart(), "group");
  const int count = c_.gpus;
  for (int r = 0; r < count; ++r) {
    Rank& rank = ranks_[static_cast<std::size_t>(r)];
    cudaStream_t stream = rank.stream->get();
    float* const in = rank.in.at(0);
    float* const out = rank.out.at(0);
    switch (c_.op) {
      case Op::kAllReduce:
        check_nccl(ncclAllReduce(in, out, count_, ncclFloat, ncclSum, rank.communicator, stream), "all-reduce");
        break;
      case Op::kAllGather:
        check_nccl(ncclAllGather(in, out, each(), ncclFloat, rank.communicator, stream), "all-gather");
        break;
      case Op::kReduceScatter:
        check_nccl(ncclReduceScatter(in, out, each(), ncclFloat, ncclSum, rank.communicator, stream), "reduce-scatter");
        break;
      case Op::kAllToAll:
        for (int peer = 0; peer < count; ++peer) {
          const std::size_t at = static_cast<std::size_t>(peer) * each();
          check_nccl(ncclSend(in + at, each(), ncclFloat, peer, rank.communicator, stream), "send");
          check_nccl(ncclRecv(out + at, each(), ncclFloat, peer, rank.communicator, stream), "receive");
        }
        break;
      case Op::kSendReceive:
        check_nccl(ncclSend(in, count_, ncclFloat, (r + 1) % count, rank.communicator, stream), "send");
        check_nccl(ncclRecv(out, count_, ncclFloat, (r + count - 1) % count, rank.communicator, stream), "receive");
        break;
    }
  }
  check_nccl(ncclGroupEnd(), "group");
}

float Ranks::expected(int rank, std::size_t i) const {
  const auto n = static_cast<float>(c_.gpus);
  const auto own = static_cast<std::size_t>(rank) * each();
  switch (c_.op) {
    case Op::kAllReduce:  // Σ_r (r + 1) + n·(i mod 7)
      return n * (n + 1.0F) / 2.0F + n * static_cast<float>(i % 7);
    case Op::kReduceScatter:
      return n * (n + 1.0F) / 2.0F + n * static_cast<float>((own + i) % 7);
    case Op::kAllGather:
      return sent(static_cast<int>(i / each()), i % each());
    case Op::kAllToAll:
      return sent(static_cast<int>(i / each()), own + i % each());
    case Op::kSendReceive:
      return sent((rank + c_.gpus - 1) % c_.gpus, i);
  }
  return std::nanf("");
}

void Ranks::verify() {
  for (int r = 0; r < c_.gpus; ++r) {
    const OnDevice device(r);
    const Rank& rank = ranks_[static_cast<std::size_t>(r)];
    const std::vector<float> values = downloaded(rank.out.at(0), rank.out.count());
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (values[i] != expected(r, i)) {
        throw DeviceError("rank " + std::to_string(r) + " received a wrong element " + std::to_string(i));
      }
    }
  }
}

}  // namespace

Timing measure_collective(const CollectiveCase& c, const StopRule& rule, Json& extra) {
  if (device_count() < c.gpus) {
    throw Unsupported("needs " + std::to_string(c.gpus) + " GPUs, found " + std::to_string(device_count()));
  }
  Ranks ranks(c);
  ranks.launch();
  ranks.wait();
  ranks.verify();
  int version = 0;
  check_nccl(ncclGetVersion(&version), "version of NCCL");
  extra.set("nccl_version", version);

  Event begin;
  Event end;
  const auto timed = [&](std::size_t count) {
    begin.record(ranks.first_stream());
    for (std::size_t i = 0; i < count; ++i) {
      ranks.launch();
    }
    end.record(ranks.first_stream());
    ranks.wait();
    return Event::seconds_between(begin, end) / static_cast<double>(count);
  };
  static_cast<void>(timed(5));
  const double each = timed(5);
  constexpr double kSample = 4e-3;
  const auto count = static_cast<std::size_t>(std::clamp(std::ceil(kSample / std::max(each, 1e-6)), 1.0, 200.0));
  std::vector<double> samples;
  Timing out;
  const auto start = Clock::now();
  Stop decision = Stop::kGoOn;
  while (decision == Stop::kGoOn) {
    samples.push_back(timed(count));
    decision = stop(rule, samples, std::chrono::duration<double>(Clock::now() - start).count());
  }
  out.seconds = summary_of(samples);
  out.samples = samples.size();
  out.launches_each = count;
  out.stopped = decision;
  out.path = Path::kStream;
  return out;
}

}  // namespace moesim::bench
