#pragma once

#include <ucontext.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <numeric>
#include <span>
#include <stdexcept>
#include <vector>

#include "sim/core/random.hpp"
#include "validate/kernels/values.hpp"

/// Runs the CUDA kernels of validate/kernels on a CPU, thread by thread, so that their index arithmetic, the layouts of
/// the matrix instructions and their barriers are tested where there is no GPU. Stands in for primitives.cuh.
///
/// Every thread of a block is a context of its own. Warps run one at a time, each for a random while, so that a missing
/// barrier shows sooner or later. Asynchronous copies happen at a random moment
/// between their start and the wait for them, so that one that is not waited for, or that overwrites what is still
/// read, shows too. Shared memory is filled with NaN before each block. Not seen: bank conflicts, and speed.

#define __global__
#define __device__
#define __launch_bounds__(...)

struct EmulatedIndex {
  unsigned x = 0;
  unsigned y = 0;
  unsigned z = 0;
};
inline EmulatedIndex threadIdx;
inline EmulatedIndex blockIdx;
inline EmulatedIndex blockDim;
inline EmulatedIndex gridDim;

namespace moesim::bench {

/// One block's threads, and what they wait for.
class EmulatedBlock {
 public:
  static constexpr int kWarp = 32;

  EmulatedBlock(int threads, std::uint64_t seed, const std::function<void()>& body)
      : body_(body), random_(seed, "emulated block"), threads_(static_cast<std::size_t>(threads)) {
    current_ = this;
    for (Thread& thread : threads_) {
      thread.stack.resize(kStack);
      set_up(thread.context, thread.stack);
    }
  }

  /// Throws where threads wait for what cannot come.
  void run() {
    std::vector<std::size_t> able;  // warps
    while (true) {
      able.clear();
      for (std::size_t warp = 0; warp < threads_.size(); warp += kWarp) {
        if (any_is_ready(warp)) {
          able.push_back(warp);
        }
      }
      if (able.empty()) {
        if (all_are(0, threads_.size(), State::kDone)) {
          return;
        }
        if (!all_are(0, threads_.size(), State::kAtBlock)) {
          throw std::logic_error("threads of a block wait for each other at different places");
        }
        set(0, threads_.size(), State::kReady);
        continue;
      }
      // One warp goes ahead of the others for a while: what it must not overtake is then missed.
      const std::size_t warp = able[random_.below(able.size())];
      for (std::uint64_t left = 1 + random_.below(200); left > 0 && any_is_ready(warp); --left) {
        run_lanes(warp);
      }
    }
  }

  static EmulatedBlock& current() { return *current_; }

  void wait_for_block() { wait(State::kAtBlock); }

  /// Leaves `mine` for the warp, waits for all lanes, and shows what each of them left.
  template <class T>
  std::array<T, kWarp> exchange(const T& mine) {
    static_assert(sizeof(T) <= kSlot);
    Thread& thread = threads_[running_];
    const std::size_t phase = thread.exchanges++ % 2;  // nobody is two exchanges ahead of another lane
    std::memcpy(thread.slots[phase].data(), &mine, sizeof(T));
    const std::size_t first = running_ / kWarp * kWarp;
    wait(State::kAtWarp);
    std::array<T, kWarp> all{};
    for (std::size_t lane = 0; lane < kWarp; ++lane) {
      std::memcpy(&all[lane], threads_[first + lane].slots[phase].data(), sizeof(T));
    }
    return all;
  }

  void copy_later(void* to, const void* from, std::size_t bytes) {
    Copy copy{to, from, bytes};
    if (random_.below(2) == 0) {
      copy.run();
    } else {
      threads_[running_].open.push_back(copy);
    }
  }
  void commit() {
    Thread& thread = threads_[running_];
    thread.groups.push_back(std::move(thread.open));
    thread.open.clear();
  }
  void finish_copies(std::size_t pending) {
    Thread& thread = threads_[running_];
    while (thread.groups.size() > pending) {
      for (const Copy& copy : thread.groups.front()) {
        copy.run();
      }
      thread.groups.pop_front();
    }
  }
  [[nodiscard]] int lane() const { return static_cast<int>(running_ % kWarp); }

 private:
  static constexpr std::size_t kStack = std::size_t{96} << 10;
  static constexpr std::size_t kSlot = 32;
  enum class State { kReady, kAtBlock, kAtWarp, kDone };

  struct Copy {
    void* to;
    const void* from;
    std::size_t bytes;
    void run() const {
      std::array<unsigned char, 16> value{};
      if (bytes > 0) {
        std::memcpy(value.data(), from, bytes);
      }
      std::memcpy(to, value.data(), value.size());
    }
  };
  struct Thread {
    ucontext_t context{};
    std::vector<unsigned char> stack;
    State state = State::kReady;
    std::size_t exchanges = 0;
    std::array<std::array<unsigned char, kSlot>, 2> slots{};
    std::vector<Copy> open;
    std::deque<std::vector<Copy>> groups;
  };

  void set_up(ucontext_t& context, std::vector<unsigned char>& stack) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack.data();
    context.uc_stack.ss_size = stack.size();
    context.uc_link = &scheduler_;
    makecontext(&context, &EmulatedBlock::enter, 0);
  }
  static void enter() {
    EmulatedBlock& block = *current_;
    block.body_();
    block.threads_[block.running_].state = State::kDone;
  }
  void wait(State what) {
    const std::size_t me = running_;
    threads_[me].state = what;
    swapcontext(&threads_[me].context, &scheduler_);
    running_ = me;
    threadIdx.x = static_cast<unsigned>(me);
  }
  [[nodiscard]] bool all_are(std::size_t begin, std::size_t end, State state) const {
    return std::all_of(threads_.begin() + static_cast<std::ptrdiff_t>(begin),
                       threads_.begin() + static_cast<std::ptrdiff_t>(end),
                       [&](const Thread& thread) { return thread.state == state; });
  }
  void set(std::size_t begin, std::size_t end, State state) {
    for (std::size_t i = begin; i < end; ++i) {
      threads_[i].state = state;
    }
  }
  /// Whether a lane can go on; those of a warp that have waited for each other can.
  [[nodiscard]] bool any_is_ready(std::size_t warp) {
    if (all_are(warp, warp + kWarp, State::kAtWarp)) {
      set(warp, warp + kWarp, State::kReady);
    }
    return std::any_of(threads_.begin() + static_cast<std::ptrdiff_t>(warp),
                       threads_.begin() + static_cast<std::ptrdiff_t>(warp + kWarp),
                       [](const Thread& thread) { return thread.state == State::kReady; });
  }
  /// Each lane that can, up to what it next waits for, in a random order.
  void run_lanes(std::size_t warp) {
    std::array<std::size_t, kWarp> lanes{};
    std::iota(lanes.begin(), lanes.end(), warp);
    random_.shuffle(std::span<std::size_t>(lanes));
    for (const std::size_t i : lanes) {
      if (threads_[i].state == State::kReady) {
        running_ = i;
        threadIdx.x = static_cast<unsigned>(i);
        swapcontext(&scheduler_, &threads_[i].context);
      }
    }
  }

  inline static EmulatedBlock* current_ = nullptr;
  const std::function<void()>& body_;
  RandomStream random_;
  std::vector<Thread> threads_;
  ucontext_t scheduler_{};
  std::size_t running_ = 0;
};

inline std::vector<std::uint64_t>& emulated_shared() {
  static std::vector<std::uint64_t> memory(1 << 15);  // 256 KiB
  return memory;
}

/// Runs `body`, a call of a kernel, for every block of the grid.
inline void emulate(EmulatedIndex grid, int threads, std::size_t shared_bytes, std::uint64_t seed,
                    const std::function<void()>& body) {
  if (shared_bytes > emulated_shared().size() * 8) {
    throw std::logic_error("more shared memory than is emulated");
  }
  gridDim = grid;
  blockDim = {static_cast<unsigned>(threads), 1, 1};
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        std::fill(emulated_shared().begin(), emulated_shared().end(), ~std::uint64_t{0});
        blockIdx = {x, y, z};
        EmulatedBlock(threads, seed + x + 1000 * y + 1000000 * z, body).run();
      }
    }
  }
}

// ---- what primitives.cuh gives on a GPU ----

inline unsigned char* dynamic_shared() { return reinterpret_cast<unsigned char*>(emulated_shared().data()); }

inline void copy_async(void* shared, const void* global, int bytes) {
  EmulatedBlock::current().copy_later(shared, global, static_cast<std::size_t>(bytes));
}
inline void copy_async_commit() { EmulatedBlock::current().commit(); }
template <int kPending>
void copy_async_wait() {
  EmulatedBlock::current().finish_copies(kPending);
}

/// Element `column` of row `row` of matrix `matrix`, whose rows' addresses the lanes name: PTX ISA, "ldmatrix".
inline std::uint16_t matrix_element(const std::array<const unsigned char*, 32>& rows, int matrix, int row, int column) {
  std::uint16_t value = 0;
  std::memcpy(&value, rows[static_cast<std::size_t>(matrix * 8 + row)] + column * 2, sizeof value);
  return value;
}
inline void load_matrices(unsigned (&out)[4], const void* row) {
  const auto rows = EmulatedBlock::current().exchange(static_cast<const unsigned char*>(row));
  const int lane = EmulatedBlock::current().lane();
  for (int matrix = 0; matrix < 4; ++matrix) {
    const unsigned low = matrix_element(rows, matrix, lane / 4, lane % 4 * 2);
    const unsigned high = matrix_element(rows, matrix, lane / 4, lane % 4 * 2 + 1);
    out[matrix] = low | high << 16;
  }
}
inline void load_matrices_transposed(unsigned (&out)[4], const void* row) {
  const auto rows = EmulatedBlock::current().exchange(static_cast<const unsigned char*>(row));
  const int lane = EmulatedBlock::current().lane();
  for (int matrix = 0; matrix < 4; ++matrix) {
    const unsigned low = matrix_element(rows, matrix, lane % 4 * 2, lane / 4);
    const unsigned high = matrix_element(rows, matrix, lane % 4 * 2 + 1, lane / 4);
    out[matrix] = low | high << 16;
  }
}

struct MatrixOperands {
  unsigned a[4];
  unsigned b[2];
};
/// PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type" and "for mma.m16n8k32": with w values in a
/// register and kDepth = 8·w of k, A[row, k] is value k mod w of register row/8 + 2·(k / (4w)) of lane
/// 4·(row mod 8) + (k mod 4w)/w, and B[k, n] that of register k / (4w) of lane 4·n + (k mod 4w)/w. D[row, n] is value
/// n mod 2 + 2·(row/8) of lane 4·(row mod 8) + n/2.
template <int kWidth, class Decode>
void multiply(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, const Decode& decode) {
  const auto all = EmulatedBlock::current().exchange(MatrixOperands{{a[0], a[1], a[2], a[3]}, {b0, b1}});
  const int lane = EmulatedBlock::current().lane();
  constexpr int kQuarter = 4 * kWidth;
  constexpr int kBits = 32 / kWidth;
  for (int value = 0; value < 4; ++value) {
    const int row = lane / 4 + value / 2 * 8;
    const int n = lane % 4 * 2 + value % 2;
    double sum = 0.0;
    for (int k = 0; k < 2 * kQuarter; ++k) {
      const auto from = static_cast<std::size_t>(k % kQuarter / kWidth);
      const unsigned left = all[static_cast<std::size_t>(row % 8 * 4) + from].a[row / 8 + k / kQuarter * 2];
      const unsigned right = all[static_cast<std::size_t>(n * 4) + from].b[k / kQuarter];
      sum += static_cast<double>(decode(left >> (k % kWidth * kBits))) *
             static_cast<double>(decode(right >> (k % kWidth * kBits)));
    }
    d[value] += static_cast<float>(sum);
  }
}
inline void multiply_bf16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  multiply<2>(d, a, b0, b1, [](unsigned bits) { return bf16_to_float(static_cast<std::uint16_t>(bits)); });
}
inline void multiply_e4m3(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  static const auto kValues = [] {
    std::array<float, 256> values{};
    for (unsigned bits = 0; bits < 256; ++bits) {
      values[bits] = e4m3_to_float(static_cast<std::uint8_t>(bits));
    }
    return values;
  }();
  multiply<4>(d, a, b0, b1, [](unsigned bits) { return kValues[bits & 255]; });
}

inline void fence_shared_for_matrix_units() {}
/// Reads both operands where the hardware would: bits 4 to 6 of an address are turned by bits 7 to 9.
template <int kElement>
void warpgroup_multiply(float (&d)[16][4], const unsigned char* a, const unsigned char* b) {
  const unsigned char* const memory = dynamic_shared();
  const auto value = [&](const unsigned char* tile, int row, int k) {
    const auto plain = static_cast<std::size_t>(tile - memory + row * 128 + k * kElement);
    const unsigned char* const at = memory + (plain ^ ((plain >> 7 & 7) << 4));
    if constexpr (kElement == 2) {
      std::uint16_t bits = 0;
      std::memcpy(&bits, at, sizeof bits);
      return static_cast<double>(bf16_to_float(bits));
    } else {
      return static_cast<double>(e4m3_to_float(*at));
    }
  };
  const int thread = static_cast<int>(threadIdx.x) % 128;
  for (int half = 0; half < 2; ++half) {
    const int row = thread / 32 * 16 + thread % 32 / 4 + 8 * half;
    std::array<double, 128> left{};
    for (int k = 0; k < 128 / kElement; ++k) {
      left[static_cast<std::size_t>(k)] = value(a, row, k);
    }
    for (int column = 0; column < 32; ++column) {
      const int j = column / 2;
      const int q = column % 2;
      double sum = 0.0;
      for (int k = 0; k < 128 / kElement; ++k) {
        sum += left[static_cast<std::size_t>(k)] * value(b, 8 * j + thread % 4 * 2 + q, k);
      }
      d[j][2 * half + q] += static_cast<float>(sum);
    }
  }
}

template <class T>
T shuffle(T value, int lane) {
  return EmulatedBlock::current().exchange(value)[static_cast<std::size_t>(lane)];
}
template <class T>
T shuffle_xor(T value, int mask) {
  const int lane = EmulatedBlock::current().lane();
  return shuffle(value, lane ^ mask);
}
template <class T>
T shuffle_up(T value, int distance) {
  const int lane = EmulatedBlock::current().lane();
  return shuffle(value, lane >= distance ? lane - distance : lane);
}

inline float power_of_two(float exponent) { return std::exp2(exponent); }
inline std::uint16_t to_bf16(float value) { return float_to_bf16(value); }
inline unsigned pack_bf16(float low, float high) {
  return float_to_bf16(low) | static_cast<unsigned>(float_to_bf16(high)) << 16;
}
inline std::uint8_t to_e4m3(float value) { return float_to_e4m3(value); }

}  // namespace moesim::bench

inline void __syncthreads() { moesim::bench::EmulatedBlock::current().wait_for_block(); }
