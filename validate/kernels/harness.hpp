#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "validate/kernels/device.hpp"
#include "validate/kernels/record.hpp"
#include "validate/kernels/shapes.hpp"
#include "validate/kernels/statistics.hpp"

/// How a case is checked and timed, whatever it is.
namespace moesim::bench {

class Blas;

/// What a case's outputs were found to be. Right where the error is at most the tolerance.
struct Verdict {
  double error = 0.0;  ///< relative, Frobenius, against float64
  double tolerance = 0.0;
  std::string what;  ///< the stage with the worst error over tolerance

  [[nodiscard]] bool right() const { return error <= tolerance; }
  /// Keeps the worse of the two.
  void add(double other_error, double other_tolerance, const char* other_what);
};
constexpr double kFloatTolerance = 1e-3;      ///< float outputs of bf16 inputs
constexpr double kBf16Tolerance = 1e-2;       ///< rounding of bf16 outputs is 2e-3
constexpr double kFp8Tolerance = 2e-2;        ///< Hopper adds fp8 products in fewer bits
constexpr double kQuantisedTolerance = 4e-2;  ///< rounding to e4m3 alone is up to 2⁻⁴, 2.6e-2 on average

/// A case with its buffers. A set is one full group of inputs and outputs; there are as many as it takes to find none
/// of them in the L2 cache.
class Prepared {
 public:
  virtual ~Prepared() = default;
  [[nodiscard]] virtual std::size_t sets() const = 0;
  /// Fills all outputs with NaN.
  virtual void poison(cudaStream_t stream) = 0;
  virtual void launch(std::size_t set, cudaStream_t stream) = 0;
  /// Of what the last launch left; waits for the stream first.
  virtual Verdict verdict(std::size_t set) = 0;
};

/// What a run has at hand.
struct Bench {
  DeviceFacts facts;
  Blas& blas;
  const Stream& stream;
  std::uint64_t seed = 0;
  int multiprocessors = 0;  ///< that kernels should fill; 0: all

  /// Throws Unsupported below compute capability 8.9.
  void need_fp8() const;
  /// Sets whose data is several times the L2 cache, as far as they fit in half of the free memory.
  [[nodiscard]] std::size_t sets_for(double touched_bytes, double resident_bytes) const;
};

std::unique_ptr<Prepared> prepare(const HbmCase& c, Bench& bench);
std::unique_ptr<Prepared> prepare(const GemmCase& c, Bench& bench);
std::unique_ptr<Prepared> prepare(const ExpertsCase& c, Bench& bench);
std::unique_ptr<Prepared> prepare(const LayerCase& c, Bench& bench);
std::unique_ptr<Prepared> prepare(const DecodeCase& c, Bench& bench);
std::unique_ptr<Prepared> prepare(const LatentDecodeCase& c, Bench& bench);
std::unique_ptr<Prepared> prepare(const PrefillCase& c, Bench& bench);

/// Median time of one launch over the sets in turn, after a warm-up. As graphs where the launches can be recorded.
Timing measure(Prepared& prepared, const StopRule& rule, cudaStream_t stream, Path path);
/// The relative error of all sets in use after one launch of each.
Verdict check_once(Prepared& prepared, cudaStream_t stream);

struct Outcome {
  Timing timing;
  Verdict verdict;
};
/// Checks, times, and checks what the timed launches left. What goes wrong only as a graph is timed without one.
Outcome check_and_measure(Prepared& prepared, const StopRule& rule, cudaStream_t stream);

/// Time per empty kernel.
Timing measure_launch(const LaunchCase& c, const StopRule& rule, Bench& bench);
/// The work beside its rival; `extra` receives its time alone, and what the rival moved alone and beside it.
Outcome measure_contention(const ContentionCase& c, const StopRule& rule, Bench& bench, Json& extra);
/// Throws Unsupported where there are too few GPUs, or the program was built without NCCL.
Timing measure_collective(const CollectiveCase& c, const StopRule& rule, Json& extra);

/// Small shapes of every kind, uneven and off the tiles' edges, for --check.
std::vector<Shape> check_shapes();

}  // namespace moesim::bench
