#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

namespace moesim {

/// Philox4x32-10: a counter-based generator. Salmon, Moraes, Dror, Shaw: "Parallel Random Numbers: As Easy as
/// 1, 2, 3", SC'11, section 3.3.
std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key);

/// A stream of random numbers with a name: the same (seed, name, index) gives the same numbers on every machine, in
/// every order of use, whatever other streams do. The distributions are our own for the same reason: the standard
/// library's differ between implementations.
class RandomStream {
 public:
  RandomStream(std::uint64_t seed, std::string_view name, std::uint64_t index = 0);
  /// The stream of the same seed and name with another index, from its beginning.
  [[nodiscard]] RandomStream at(std::uint64_t index) const {
    RandomStream other = *this;
    other.index_ = index;
    other.block_ = 0;
    other.left_ = 0;
    return other;
  }

  std::uint64_t bits() {
    if (left_ == 0) {
      refill();
    }
    return ready_[static_cast<std::size_t>(2 - left_--)];
  }
  /// Uniform in [0, 1), 53 random bits.
  double uniform();
  /// Uniform in 0 .. bound−1 without bias (Lemire 2019); bound > 0.
  std::uint64_t below(std::uint64_t bound);
  /// Standard normal (Box–Muller).
  double normal();
  /// Exponential with mean 1.
  double exponential();

  template <class T>
  void shuffle(std::span<T> items) {
    for (std::size_t i = items.size(); i > 1; --i) {
      std::swap(items[i - 1], items[below(i)]);
    }
  }

 private:
  void refill();

  std::array<std::uint32_t, 2> key_;
  std::uint64_t index_;
  std::uint64_t block_ = 0;
  std::array<std::uint64_t, 2> ready_{};
  int left_ = 0;
};

}  // namespace moesim
