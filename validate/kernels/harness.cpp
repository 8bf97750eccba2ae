#include "validate/kernels/harness.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "validate/kernels/launch.hpp"

namespace moesim::bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

/// A recorded run of launches. Empty where the launches cannot be recorded.
class Graph {
 public:
  template <class Launches>
  Graph(cudaStream_t stream, const Launches& launches) {
    if (cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) != cudaSuccess) {
      static_cast<void>(cudaGetLastError());
      return;
    }
    bool recorded = true;
    try {
      launches();
    } catch (const DeviceError&) {
      recorded = false;  // a call that a recording does not allow: it is timed without
    }
    cudaGraph_t graph = nullptr;
    if (cudaStreamEndCapture(stream, &graph) != cudaSuccess || !recorded || graph == nullptr ||
        cudaGraphInstantiate(&executable_, graph, 0) != cudaSuccess) {
      executable_ = nullptr;
    }
    if (graph != nullptr) {
      static_cast<void>(cudaGraphDestroy(graph));
    }
    static_cast<void>(cudaGetLastError());
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph() {
    if (executable_ != nullptr) {
      static_cast<void>(cudaGraphExecDestroy(executable_));
    }
  }
  [[nodiscard]] bool usable() const { return executable_ != nullptr; }
  void launch(cudaStream_t stream) const { check(cudaGraphLaunch(executable_, stream), "launch of a graph"); }

 private:
  cudaGraphExec_t executable_ = nullptr;
};

/// Launches in one sample: about two milliseconds, whole rounds over the sets where that is not much longer.
std::size_t launches_for(double seconds_each, std::size_t sets) {
  constexpr double kSample = 2e-3;
  constexpr double kMost = 512.0;
  const double wanted = std::clamp(std::ceil(kSample / std::max(seconds_each, 1e-7)), 1.0, kMost);
  const auto count = static_cast<std::size_t>(wanted);
  return count <= sets ? count : (count + sets - 1) / sets * sets;
}

template <class Launches>
Timing sample(const Launches& launches, std::size_t launches_each, const StopRule& rule, cudaStream_t stream) {
  Event begin;
  Event end;
  Timing out;
  std::vector<double> samples;
  const auto start = Clock::now();
  Stop decision = Stop::kGoOn;
  while (decision == Stop::kGoOn) {
    begin.record(stream);
    launches();
    end.record(stream);
    end.wait();
    samples.push_back(Event::seconds_between(begin, end) / static_cast<double>(launches_each));
    decision = stop(rule, samples, seconds_since(start));
  }
  out.seconds = summary_of(samples);
  out.samples = samples.size();
  out.launches_each = launches_each;
  out.stopped = decision;
  return out;
}

}  // namespace

void Verdict::add(double other_error, double other_tolerance, const char* other_what) {
  // Infinite or NaN errors are worse than any.
  const double mine = tolerance > 0.0 ? error / tolerance : 0.0;
  const double other = other_error / other_tolerance;
  if (tolerance == 0.0 || !(other <= mine)) {
    error = other_error;
    tolerance = other_tolerance;
    what = other_what;
  }
}

void Bench::need_fp8() const {
  if (facts.major * 10 + facts.minor < 89) {
    throw Unsupported("fp8 needs compute capability 8.9 or newer");
  }
}

std::size_t Bench::sets_for(double touched_bytes, double resident_bytes) const {
  constexpr double kTimesCache = 4.0;
  constexpr double kMostSets = 64.0;
  std::size_t free = 0;
  std::size_t total = 0;
  check(cudaMemGetInfo(&free, &total), "free memory");
  const double wanted = std::ceil(kTimesCache * static_cast<double>(facts.l2_bytes) / std::max(touched_bytes, 1.0));
  const double fitting = std::floor(0.5 * static_cast<double>(free) / std::max(resident_bytes, 1.0));
  return static_cast<std::size_t>(std::clamp(std::min(wanted, fitting), 1.0, kMostSets));
}

Timing measure(Prepared& prepared, const StopRule& rule, cudaStream_t stream, Path path) {
  const std::size_t sets = prepared.sets();
  Event begin;
  Event end;
  for (std::size_t set = 0; set < sets; ++set) {  // loads code, chooses algorithms
    prepared.launch(set, stream);
  }
  begin.record(stream);
  for (std::size_t set = 0; set < sets; ++set) {
    prepared.launch(set, stream);
  }
  end.record(stream);
  end.wait();
  const double each = Event::seconds_between(begin, end) / static_cast<double>(sets);
  const std::size_t count = launches_for(each, sets);
  // Samples that do not cover all sets take up where the last ended.
  std::size_t next = 0;
  const auto launches = [&] {
    for (std::size_t i = 0; i < count; ++i) {
      prepared.launch(next, stream);
      next = (next + 1) % sets;
    }
  };
  if (path == Path::kGraph && count >= sets) {
    const Graph graph(stream, launches);
    if (graph.usable()) {
      graph.launch(stream);
      Timing timing = sample([&] { graph.launch(stream); }, count, rule, stream);
      timing.path = Path::kGraph;
      return timing;
    }
  }
  launches();
  Timing timing = sample(launches, count, rule, stream);
  timing.path = Path::kStream;
  return timing;
}

Verdict check_once(Prepared& prepared, cudaStream_t stream) {
  prepared.poison(stream);
  for (std::size_t set = 0; set < prepared.sets(); ++set) {
    prepared.launch(set, stream);
  }
  Verdict verdict = prepared.verdict(0);
  if (prepared.sets() > 1) {
    const Verdict last = prepared.verdict(prepared.sets() - 1);
    verdict.add(last.error, last.tolerance, last.what.c_str());
  }
  return verdict;
}

Outcome check_and_measure(Prepared& prepared, const StopRule& rule, cudaStream_t stream) {
  Outcome out;
  out.verdict = check_once(prepared, stream);
  if (!out.verdict.right()) {
    return out;
  }
  prepared.poison(stream);
  out.timing = measure(prepared, rule, stream, Path::kGraph);
  out.verdict = prepared.verdict(0);
  if (!out.verdict.right() && out.timing.path == Path::kGraph) {
    prepared.poison(stream);
    out.timing = measure(prepared, rule, stream, Path::kStream);
    out.verdict = prepared.verdict(0);
  }
  return out;
}

Timing measure_launch(const LaunchCase& c, const StopRule& rule, Bench& bench) {
  class Nothing : public Prepared {
   public:
    [[nodiscard]] std::size_t sets() const override { return 1; }
    void poison(cudaStream_t) override {}
    void launch(std::size_t, cudaStream_t stream) override { launch_nothing(stream); }
    Verdict verdict(std::size_t) override { return {}; }
  };
  Nothing nothing;
  return measure(nothing, rule, bench.stream.get(), c.way == LaunchCase::Way::kGraph ? Path::kGraph : Path::kStream);
}

}  // namespace moesim::bench
